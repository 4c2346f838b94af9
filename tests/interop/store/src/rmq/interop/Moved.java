package rmq.interop;

import static rmq.interop.Checks.equal;
import static rmq.interop.Checks.until;
import static rmq.interop.Checks.yes;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * A store that one broker wrote and another one opens. Arguments: what to do, the name server, a prefix for the names of
 * the checks, and a file:
 * {@code write} fills the broker and notes in the file what it shows; {@code verify} wants the same of the broker that has
 * the store now, and that it goes on where the other stopped; {@code kill PID} sends until the broker, killed meanwhile,
 * fails, and notes what was acknowledged; {@code verify-acknowledged} wants that.
 */
public final class Moved {
    private static final List<String> TOPICS = Arrays.asList("Plain", "Batch", "Large", longName());
    private static final String GROUP = "moved-group";
    private static final int LIMIT = 90;

    private final Cluster cluster;
    private final Path file;

    private Moved(Cluster cluster, Path file) {
        this.cluster = cluster;
        this.file = file;
    }

    public static void main(String[] args) throws Exception {
        Moved moved = new Moved(new Cluster(args[1]), Path.of(args[3]));
        Checks checks = new Checks(args[2], Collections.emptyList());
        switch (args[0]) {
            case "write":
                checks.check("is-written", moved::write);
                break;
            case "verify":
                checks.slow("delivers-what-was-delayed", moved::delayed);
                checks.check("shows-every-message", moved::everyMessage);
                checks.check("finds-by-key-and-id", moved::everyId);
                checks.check("keeps-consumer-offsets", moved::offsets);
                checks.check("goes-on-at-the-next-offset", moved::goesOn);
                break;
            case "kill":
                checks.check("is-killed-while-sending", () -> moved.kill(Long.parseLong(args[4])));
                break;
            case "verify-acknowledged":
                checks.check("has-every-acknowledged-message", moved::acknowledged);
                break;
            default:
                throw new IllegalArgumentException(args[0]);
        }
        checks.runAndExit();
    }

    private static String longName() {
        return "Long_" + String.join("", Collections.nCopies(120, "x"));
    }

    // ---- clean stop -----------------------------------------------------------------------------------------------

    private void write() throws Exception {
        for (var broker : cluster.admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            for (String topic : TOPICS) {
                cluster.admin.createAndUpdateTopicConfig(broker.selectBrokerAddr(), new TopicConfig(topic, 3, 3, 6));
            }
            cluster.admin.createAndUpdateTopicConfig(broker.selectBrokerAddr(), new TopicConfig("Delayed", 1, 1, 6));
        }
        for (String topic : TOPICS) {
            until("route of " + topic, LIMIT, () -> cluster.queues(topic) == 3);
        }
        until("route of Delayed", LIMIT, () -> cluster.queues("Delayed") == 1);
        DefaultMQProducer producer = cluster.producer();
        for (int n = 0; n < 60; n++) {
            Message message = new Message("Plain", n % 2 == 0 ? "Tag" : "标签", "all key-" + n, ("plain " + n).getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("colour", "grün " + n);
            message.setFlag(n);
            producer.send(message);
        }
        for (int n = 0; n < 3; n++) {
            producer.send(IntStream.range(0, 10).mapToObj(i -> Cluster.message("Batch", "batch " + i)).collect(Collectors.toList()));
            producer.send(Cluster.message("Large", String.join(" ", Collections.nCopies(60_000 + n, "word" + n))));
            producer.send(new Message(longName(), "T", "long-" + n, "long".getBytes(StandardCharsets.UTF_8)));
        }
        consume(60).shutdown();
        List<String> lines = new ArrayList<>();
        for (MessageExt message : all()) {
            lines.add(line(message));
        }
        // Last, so that it is still pending when the store moves.
        Message later = Cluster.message("Delayed", "later");
        later.setDelayTimeLevel(4);
        producer.send(later);
        Files.write(file, lines);
        equal("messages", 60 + 30 + 3 + 3, lines.size());
    }

    /** A consumer of Plain in the group; returns when its offsets are at the end. */
    private DefaultMQPushConsumer consume(int end) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(GROUP);
        Inbox inbox = new Inbox();
        consumer.subscribe("Plain", "*");
        consumer.registerMessageListener(inbox);
        consumer.start();
        until("offsets at the end, " + inbox.size() + " received", LIMIT, () -> {
            long sum = 0;
            for (MessageQueue queue : consumer.fetchSubscribeMessageQueues("Plain")) {
                sum += Math.max(0, consumer.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_MEMORY));
            }
            return sum == end;
        });
        return consumer;
    }

    private List<MessageExt> all() throws Exception {
        List<MessageExt> all = new ArrayList<>();
        for (String topic : TOPICS) {
            all.addAll(cluster.read(topic));
        }
        return all;
    }

    /** Everything a client sees of a stored message. */
    private static String line(MessageExt message) {
        TreeMap<String, String> properties = new TreeMap<>(message.getProperties());
        properties.remove("MIN_OFFSET");
        properties.remove("MAX_OFFSET");
        return String.join("\t", message.getTopic(), "" + message.getQueueId(), "" + message.getQueueOffset(), "" + message.getCommitLogOffset(),
            "" + message.getStoreSize(), "" + message.getBornTimestamp(), "" + message.getStoreTimestamp(), "" + message.getBornHost(),
            "" + message.getStoreHost(), message.getMsgId(), "" + message.getFlag(), "" + message.getSysFlag(), "" + message.getReconsumeTimes(),
            properties.toString(), message.getBody().length + "/" + Arrays.hashCode(message.getBody()));
    }

    private void everyMessage() throws Exception {
        List<String> expected = Files.readAllLines(file);
        List<String> actual = new ArrayList<>();
        for (MessageExt message : all()) {
            actual.add(line(message));
        }
        TreeSet<String> missing = new TreeSet<>(expected);
        actual.forEach(missing::remove);
        TreeSet<String> more = new TreeSet<>(actual);
        expected.forEach(more::remove);
        yes(expected.size() + " messages, missing " + missing + ", instead " + more, missing.isEmpty() && more.isEmpty() && expected.size() == actual.size());
    }

    private void everyId() throws Exception {
        DefaultMQProducer producer = cluster.producer();
        long end = System.currentTimeMillis() + 60_000;
        equal("messages with the common key", 60, producer.queryMessage("Plain", "all", 64, 0, end).getMessageList().size());
        for (MessageExt message : cluster.read("Plain")) {
            String key = message.getKeys().split(" ")[1];
            List<MessageExt> byKey = producer.queryMessage("Plain", key, 32, 0, end).getMessageList();
            equal("messages with " + key, 1, byKey.size());
            equal("by key", line(message), line(byKey.get(0)));
            equal("by unique key", line(message), line(producer.viewMessage("Plain", message.getMsgId())));
        }
        for (MessageExt message : all()) {
            String id = ((org.apache.rocketmq.common.message.MessageClientExt) message).getOffsetMsgId();
            equal("by offset id", line(message), line(producer.viewMessage(message.getTopic(), id)));
        }
    }

    private void offsets() throws Exception {
        var stats = cluster.admin.examineConsumeStats(GROUP, "Plain");
        long consumed = stats.getOffsetTable().values().stream().mapToLong(offset -> offset.getConsumerOffset()).sum();
        equal("messages consumed according to the broker", 60L, consumed);
        equal("messages left", 0L, stats.computeTotalDiff());
    }

    private void goesOn() throws Exception {
        DefaultMQProducer producer = cluster.producer();
        for (MessageQueue queue : producer.fetchPublishMessageQueues("Plain")) {
            long end = cluster.read("Plain").stream().filter(message -> message.getQueueId() == queue.getQueueId()).count();
            SendResult result = producer.send(new Message("Plain", "", "after", "after".getBytes(StandardCharsets.UTF_8)), queue);
            equal("offset in queue " + queue.getQueueId(), end, result.getQueueOffset());
        }
        until("the new messages are found by key", LIMIT,
            () -> producer.queryMessage("Plain", "after", 32, 0, Long.MAX_VALUE).getMessageList().size() == 3);
        DefaultMQPushConsumer consumer = consume(63);
        consumer.shutdown();
    }

    private void delayed() throws Exception {
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = cluster.consumer("delayed-group");
        consumer.subscribe("Delayed", "*");
        consumer.registerMessageListener(inbox);
        consumer.start();
        inbox.awaitExactly(Collections.singleton("later"), LIMIT);
        consumer.shutdown();
    }

    // ---- kill -----------------------------------------------------------------------------------------------------

    private void kill(long victim) throws Exception {
        DefaultMQProducer producer = cluster.producer();
        producer.setRetryTimesWhenSendFailed(0);
        producer.setSendMsgTimeout(3000);
        List<String> acknowledged = new ArrayList<>();
        try {
            for (int n = 0; ; n++) {
                if (n == 500) { // beside the sends, so that it hits somewhere in one of them
                    new Thread(() -> ProcessHandle.of(victim).ifPresent(ProcessHandle::destroyForcibly)).start();
                }
                SendResult result = producer.send(new Message("Plain", "", "killed-" + n, ("killed " + n).getBytes(StandardCharsets.UTF_8)));
                acknowledged.add(String.join("\t", "" + result.getMessageQueue().getQueueId(), "" + result.getQueueOffset(), result.getMsgId(), "killed " + n));
            }
        } catch (Exception expected) {
            yes("at least 500 sends were acknowledged, not " + acknowledged.size() + " until " + expected, acknowledged.size() >= 500);
        }
        Files.write(file, acknowledged);
    }

    private void acknowledged() throws Exception {
        TreeSet<String> missing = new TreeSet<>(Files.readAllLines(file));
        int expected = missing.size();
        for (MessageExt message : cluster.read("Plain")) {
            missing.remove(String.join("\t", "" + message.getQueueId(), "" + message.getQueueOffset(), message.getMsgId(), Cluster.body(message)));
        }
        yes("all " + expected + " acknowledged messages are there, missing " + missing, missing.isEmpty());
        DefaultMQProducer producer = cluster.producer();
        for (String key : new String[] {"killed-0", "killed-499"}) {
            until(key + " is found by key", LIMIT, () -> producer.queryMessage("Plain", key, 32, 0, Long.MAX_VALUE).getMessageList().size() == 1);
        }
    }
}
