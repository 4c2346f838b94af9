package rmq.interop;

import static rmq.interop.Checks.until;
import static rmq.interop.Checks.yes;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * The cluster behind a name server, and clients for it. Compiles against the client of 4.9 and of 5: what moved to
 * another package between them is used without being named.
 */
final class Cluster {
    private static final AtomicInteger COUNT = new AtomicInteger();

    final String namesrv;
    final DefaultMQAdminExt admin;
    private final DefaultMQPullConsumer reader;
    private final String run = Long.toString(System.currentTimeMillis() / 100 % 100_000_000L, 36)
        + "-" + ProcessHandle.current().pid();

    @SuppressWarnings("deprecation")
    Cluster(String namesrv) throws Exception {
        this.namesrv = namesrv;
        admin = new DefaultMQAdminExt(10_000);
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("admin-" + run);
        admin.start();
        reader = new DefaultMQPullConsumer("reader-" + run);
        reader.setNamesrvAddr(namesrv);
        reader.setInstanceName("reader-" + run);
        reader.start();
    }

    /** A name that no earlier run has used. */
    String unique(String base) {
        return base + "-" + run;
    }

    /** A new topic with this many queues on every master, known to the name server. */
    String topic(String base, int queues) throws Exception {
        String topic = unique(base);
        int masters = 0;
        for (var broker : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            admin.createAndUpdateTopicConfig(broker.selectBrokerAddr(), new TopicConfig(topic, queues, queues, 6));
            masters++;
        }
        int expected = queues * masters;
        until("route of " + topic + " with " + expected + " queues", 30, () -> queues(topic) == expected);
        return topic;
    }

    int queues(String topic) throws Exception {
        return admin.examineTopicRouteInfo(topic).getQueueDatas().stream().mapToInt(queue -> queue.getReadQueueNums()).sum();
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("producer-" + run + "-" + COUNT.incrementAndGet());
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        return producer;
    }

    /** A push consumer that is not started yet; consumes from the first message. */
    DefaultMQPushConsumer consumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("consumer-" + run + "-" + COUNT.incrementAndGet());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        return consumer;
    }

    /** How many queues of the topic the consumer owns now; their start offsets are settled. */
    static long owned(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    /** Every message of the topic, queue by queue. */
    @SuppressWarnings("deprecation")
    List<MessageExt> read(String topic) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
            long at = reader.minOffset(queue);
            long end = reader.maxOffset(queue);
            while (at < end) {
                PullResult result = reader.pull(queue, "*", at, 32);
                yes("a pull at " + at + " of " + queue + " moves on: " + result, result.getNextBeginOffset() > at);
                if (result.getPullStatus() == PullStatus.FOUND) {
                    all.addAll(result.getMsgFoundList());
                }
                at = result.getNextBeginOffset();
            }
        }
        return all;
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }
}
