package rmq.interop;

import static rmq.interop.Checks.equal;
import static rmq.interop.Checks.until;
import static rmq.interop.Checks.yes;
import static rmq.interop.Cluster.body;
import static rmq.interop.Cluster.message;
import static rmq.interop.Cluster.owned;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * What an application does with Apache's Java client: send, consume, fail, look up. Works with the client of 4.9 and
 * of 5. Arguments: the name server, a prefix for the names of the checks, and "none", then the checks to run
 * (default all); or instead of "none" the process id of a broker, which the only check then, fail-over, kills.
 */
public final class Clients {
    private static final int LONG = 90;

    private final Cluster cluster;
    private final DefaultMQProducer producer;

    private Clients(Cluster cluster) throws Exception {
        this.cluster = cluster;
        this.producer = cluster.producer();
    }

    public static void main(String[] args) throws Exception {
        Clients clients = new Clients(new Cluster(args[0]));
        Checks checks = new Checks(args[1], Arrays.asList(args).subList(3, args.length));
        checks.slow("retry-until-dead-letter", clients::retryUntilDeadLetter);
        checks.slow("orderly-retry-until-dead-letter", clients::orderlyRetryUntilDeadLetter);
        checks.slow("reset-to-time-while-consuming", clients::resetToTimeWhileConsuming);
        checks.slow("delay", clients::delay);
        checks.check("send-sync", clients::sendSync);
        checks.check("send-async", clients::sendAsync);
        checks.check("send-oneway", clients::sendOneway);
        checks.check("send-batch", clients::sendBatch);
        checks.check("send-creates-topic", clients::sendCreatesTopic);
        checks.check("large-body-and-properties", clients::largeBodyAndProperties);
        checks.check("cluster-shares-and-takes-over", clients::clusterSharesAndTakesOver);
        checks.check("offsets-survive-restart", clients::offsetsSurviveRestart);
        checks.check("broadcast", clients::broadcast);
        checks.check("tags", clients::tags);
        checks.check("orderly", clients::orderly);
        checks.check("lite-pull", clients::litePull);
        checks.check("query", clients::query);
        checks.check("long-polling-latency", clients::longPollingLatency);
        if (!args[2].equals("none")) {
            checks = new Checks(args[1], Collections.singleton("failover"));
            checks.check("failover", () -> clients.failover(Long.parseLong(args[2])));
        }
        checks.runAndExit();
    }

    private static List<String> bodies(String prefix, int count) {
        return IntStream.range(0, count).mapToObj(n -> prefix + n).collect(Collectors.toList());
    }

    private void send(String topic, List<String> bodies) throws Exception {
        for (String body : bodies) {
            equal("send status", SendStatus.SEND_OK, producer.send(message(topic, body)).getSendStatus());
        }
    }

    private static Set<String> set(List<? extends Message> messages) {
        return messages.stream().map(Cluster::body).collect(Collectors.toSet());
    }

    // ---- sending --------------------------------------------------------------------------------------------------

    private void sendSync() throws Exception {
        String topic = cluster.topic("sync", 4);
        Map<MessageQueue, Long> next = new HashMap<>();
        Map<String, SendResult> results = new HashMap<>();
        for (String body : bodies("s", 40)) {
            SendResult result = producer.send(message(topic, body));
            equal("send status", SendStatus.SEND_OK, result.getSendStatus());
            equal("offset in " + result.getMessageQueue(), next.getOrDefault(result.getMessageQueue(), 0L), result.getQueueOffset());
            next.put(result.getMessageQueue(), result.getQueueOffset() + 1);
            results.put(body, result);
        }
        equal("queues used", cluster.queues(topic), next.size());
        List<MessageExt> read = cluster.read(topic);
        equal("messages read", 40, read.size());
        for (MessageExt message : read) {
            SendResult result = results.get(body(message));
            equal("message id", result.getMsgId(), message.getMsgId());
            equal("queue", result.getMessageQueue().getQueueId(), message.getQueueId());
            equal("offset", result.getQueueOffset(), message.getQueueOffset());
        }
    }

    private void sendAsync() throws Exception {
        String topic = cluster.topic("async", 4);
        List<String> bodies = bodies("a", 100);
        CountDownLatch done = new CountDownLatch(bodies.size());
        AtomicReference<Throwable> failed = new AtomicReference<>();
        for (String body : bodies) {
            producer.send(message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    done.countDown();
                }

                @Override
                public void onException(Throwable problem) {
                    failed.set(problem);
                    done.countDown();
                }
            });
        }
        yes("all callbacks came", done.await(LONG, TimeUnit.SECONDS));
        if (failed.get() != null) {
            throw new AssertionError("a send failed: " + failed.get());
        }
        List<MessageExt> read = cluster.read(topic);
        equal("messages read", 100, read.size());
        equal("bodies", new HashSet<>(bodies), set(read));
    }

    private void sendOneway() throws Exception {
        String topic = cluster.topic("oneway", 4);
        List<String> bodies = bodies("o", 50);
        for (String body : bodies) {
            producer.sendOneway(message(topic, body));
        }
        until("50 messages stored", LONG, () -> cluster.read(topic).size() == 50);
        equal("bodies", new HashSet<>(bodies), set(cluster.read(topic)));
    }

    private void sendBatch() throws Exception {
        String topic = cluster.topic("batch", 4);
        List<Message> batch = bodies("b", 10).stream().map(body -> new Message(topic, "T", "key-" + body, body.getBytes(StandardCharsets.UTF_8)))
            .collect(Collectors.toList());
        SendResult result = producer.send(batch);
        equal("send status", SendStatus.SEND_OK, result.getSendStatus());
        equal("ids", 10, result.getMsgId().split(",").length);
        equal("first offset", 0L, result.getQueueOffset());
        List<MessageExt> read = cluster.read(topic);
        equal("bodies in order", bodies("b", 10), read.stream().map(Cluster::body).collect(Collectors.toList()));
        equal("offsets", "0123456789", read.stream().map(message -> "" + message.getQueueOffset()).collect(Collectors.joining()));
        equal("ids", result.getMsgId(), read.stream().map(MessageExt::getMsgId).collect(Collectors.joining(",")));
        equal("key", "key-b3", read.get(3).getKeys());
    }

    private void sendCreatesTopic() throws Exception {
        String topic = cluster.unique("created");
        equal("send status", SendStatus.SEND_OK, producer.send(message(topic, "first")).getSendStatus());
        until("the new topic has 4 queues", LONG, () -> cluster.queues(topic) % 4 == 0 && cluster.queues(topic) > 0);
        equal("messages", Collections.singleton("first"), set(cluster.read(topic)));
    }

    private void largeBodyAndProperties() throws Exception {
        String topic = cluster.topic("large", 1);
        byte[] large = String.join(" ", bodies("word", 120_000)).getBytes(StandardCharsets.UTF_8);
        Message message = new Message(topic, "标签", "k1 k2", large);
        message.putUserProperty("colour", "grün");
        message.setFlag(7);
        equal("send status", SendStatus.SEND_OK, producer.send(message).getSendStatus());
        MessageExt read = cluster.read(topic).get(0);
        yes("the body is the one sent", Arrays.equals(large, read.getBody()));
        equal("tag", "标签", read.getTags());
        equal("keys", "k1 k2", read.getKeys());
        equal("property", "grün", read.getUserProperty("colour"));
        equal("flag", 7, read.getFlag());
    }

    private void delay() throws Exception {
        String topic = cluster.topic("delay", 1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = listen("delay", topic, "*", inbox);
        Message message = message(topic, "later");
        message.setDelayTimeLevel(2);
        equal("send status", SendStatus.SEND_OK, producer.send(message).getSendStatus());
        inbox.awaitExactly(Collections.singleton("later"), LONG);
        MessageExt late = inbox.messages().get(0);
        long waited = late.getStoreTimestamp() - late.getBornTimestamp();
        yes("level 2 waits 5 s, not " + waited + " ms", waited >= 4500 && waited < 30_000);
        consumer.shutdown();
    }

    // ---- consuming ------------------------------------------------------------------------------------------------

    /** A started consumer of a group named after the check. */
    private DefaultMQPushConsumer listen(String group, String topic, String tags, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(cluster.unique("group-" + group));
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    private void clusterSharesAndTakesOver() throws Exception {
        String topic = cluster.topic("cluster", 4);
        int half = cluster.queues(topic) / 2;
        Inbox one = new Inbox();
        Inbox two = new Inbox();
        DefaultMQPushConsumer first = listen("cluster", topic, "*", one);
        DefaultMQPushConsumer second = listen("cluster", topic, "*", two);
        until("each consumer owns half of the queues", LONG, () -> owned(first, topic) == half && owned(second, topic) == half);
        List<String> bodies = bodies("c", 80);
        send(topic, bodies);
        until("80 messages received", LONG, () -> one.size() + two.size() >= 80);
        Set<String> union = new HashSet<>(one.bodies());
        union.addAll(two.bodies());
        equal("union of what both received", new HashSet<>(bodies), union);
        equal("each message once, half for each", "40 40", one.size() + " " + two.size());
        second.shutdown();
        // Told by the broker: without that the next look is up to 20 s later.
        until("the first consumer owns all queues soon after the second left", 15, () -> owned(first, topic) == half * 2);
        one.clear();
        send(topic, bodies("d", 16));
        one.awaitAll(bodies("d", 16), LONG);
        first.shutdown();
    }

    private void offsetsSurviveRestart() throws Exception {
        String topic = cluster.topic("restart", 2);
        Inbox before = new Inbox();
        send(topic, bodies("r", 20));
        DefaultMQPushConsumer consumer = listen("restart", topic, "*", before);
        before.awaitExactly(bodies("r", 20), LONG);
        DefaultMQPushConsumer full = consumer;
        until("all offsets are at the end", LONG, () -> progress(full, topic) == 20);
        consumer.shutdown();
        send(topic, bodies("n", 8));
        Inbox after = new Inbox();
        consumer = listen("restart", topic, "*", after);
        after.awaitExactly(bodies("n", 8), LONG);
        consumer.shutdown();
    }

    /** The consumer's offsets in all queues of the topic, added up. */
    private static long progress(DefaultMQPushConsumer consumer, String topic) throws Exception {
        long sum = 0;
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            sum += Math.max(0, consumer.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_MEMORY));
        }
        return sum;
    }

    private void broadcast() throws Exception {
        String topic = cluster.topic("broadcast", 4);
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        List<Inbox> inboxes = new ArrayList<>();
        for (int n = 0; n < 2; n++) {
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = cluster.consumer(cluster.unique("group-broadcast"));
            setModel(consumer, "BROADCASTING");
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(inbox);
            consumer.start();
            consumers.add(consumer);
            inboxes.add(inbox);
        }
        send(topic, bodies("x", 40));
        for (Inbox inbox : inboxes) {
            inbox.awaitExactly(bodies("x", 40), LONG);
        }
        consumers.forEach(DefaultMQPushConsumer::shutdown);
    }

    /** The enum MessageModel lies in different packages in 4.9 and 5. */
    private static void setModel(DefaultMQPushConsumer consumer, String name) {
        consumer.setMessageModel(Enum.valueOf(consumer.getMessageModel().getDeclaringClass(), name));
    }

    private void tags() throws Exception {
        String topic = cluster.topic("tags", 1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = listen("tags", topic, "red || 蓝", inbox);
        for (String tag : new String[] {"green", "red", "蓝", "redder", "", "red"}) {
            Message message = message(topic, "tag-" + tag);
            message.setTags(tag);
            equal("send status", SendStatus.SEND_OK, producer.send(message).getSendStatus());
        }
        // Received last, so that what should not come would have come before.
        Message end = message(topic, "end");
        end.setTags("red");
        producer.send(end);
        inbox.awaitAll(Collections.singleton("end"), LONG);
        until("4 messages", LONG, () -> inbox.size() >= 4);
        List<String> received = inbox.bodies();
        Collections.sort(received);
        equal("received", Arrays.asList("end", "tag-red", "tag-red", "tag-蓝"), received);
        consumer.shutdown();
    }

    private void longPollingLatency() throws Exception {
        String topic = cluster.topic("latency", 1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = listen("latency", topic, "*", inbox);
        send(topic, Collections.singletonList("warm"));
        inbox.awaitAll(Collections.singleton("warm"), LONG);
        List<Long> micros = new ArrayList<>();
        for (String body : bodies("l", 15)) {
            Thread.sleep(200); // until the next pull is held by the broker
            long sent = System.nanoTime();
            send(topic, Collections.singletonList(body));
            inbox.awaitAll(Collections.singleton(body), LONG);
            micros.add((System.nanoTime() - sent) / 1000);
        }
        Collections.sort(micros);
        yes("a held pull is answered at once: median " + micros.get(7) / 1000 + " ms", micros.get(7) < 1_000_000);
        consumer.shutdown();
    }

    private void orderly() throws Exception {
        String topic = cluster.topic("orderly", 4);
        int half = cluster.queues(topic) / 2;
        Map<Integer, List<Integer>> seen = new ConcurrentHashMap<>();
        Set<String> busy = ConcurrentHashMap.newKeySet();
        AtomicBoolean suspended = new AtomicBoolean();
        AtomicReference<String> wrong = new AtomicReference<>("none");
        MessageListenerOrderly listener = (batch, context) -> {
            String queue = context.getMessageQueue().toString();
            if (!busy.add(queue)) {
                wrong.set("two at a time in " + queue);
            }
            try {
                for (MessageExt message : batch) {
                    String[] parts = body(message).split(":");
                    if (parts[0].equals("3") && parts[1].equals("2") && suspended.compareAndSet(false, true)) {
                        return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                    }
                    seen.computeIfAbsent(Integer.valueOf(parts[0]), order -> Collections.synchronizedList(new ArrayList<>()))
                        .add(Integer.valueOf(parts[1]));
                }
                return ConsumeOrderlyStatus.SUCCESS;
            } finally {
                busy.remove(queue);
            }
        };
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (int n = 0; n < 2; n++) {
            DefaultMQPushConsumer consumer = cluster.consumer(cluster.unique("group-orderly"));
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(listener);
            consumer.start();
            consumers.add(consumer);
        }
        until("each consumer locked half of the queues", LONG, () -> consumers.stream().allMatch(consumer -> owned(consumer, topic) == half));
        int orders = 12;
        int steps = 8;
        for (int step = 0; step < steps; step++) {
            for (int order = 0; order < orders; order++) {
                SendResult result = producer.send(message(topic, order + ":" + step),
                    (queues, message, key) -> queues.get((Integer) key % queues.size()), order);
                equal("send status", SendStatus.SEND_OK, result.getSendStatus());
            }
        }
        until("all orders complete", LONG, () -> seen.size() == orders && seen.values().stream().allMatch(list -> list.size() >= steps));
        List<Integer> expected = IntStream.range(0, steps).boxed().collect(Collectors.toList());
        for (int order = 0; order < orders; order++) {
            equal("steps of order " + order, expected, seen.get(order));
        }
        yes("the queue was suspended once", suspended.get());
        equal("overlap", "none", wrong.get());
        consumers.forEach(DefaultMQPushConsumer::shutdown);
    }

    private void litePull() throws Exception {
        String topic = cluster.topic("lite", 2);
        send(topic, bodies("p", 20));
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(cluster.unique("group-lite"));
        consumer.setNamesrvAddr(cluster.namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.start();
        Set<String> first = new HashSet<>();
        until("20 messages polled", LONG, () -> {
            first.addAll(set(consumer.poll(500)));
            return first.size() == 20;
        });
        consumer.commitSync();
        for (MessageQueue queue : consumer.fetchMessageQueues(topic)) {
            consumer.seekToBegin(queue);
        }
        Set<String> second = new HashSet<>();
        until("20 messages polled again after seeking", LONG, () -> {
            second.addAll(set(consumer.poll(500)));
            return second.size() == 20;
        });
        consumer.shutdown();
    }

    // ---- failing --------------------------------------------------------------------------------------------------

    private void retryUntilDeadLetter() throws Exception {
        String topic = cluster.topic("retry", 2);
        String group = cluster.unique("group-retry");
        Inbox inbox = new Inbox() {
            @Override
            public ConsumeConcurrentlyStatus consumeMessage(List<MessageExt> batch, ConsumeConcurrentlyContext context) {
                super.consumeMessage(batch, context);
                return body(batch.get(0)).startsWith("bad") ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            }
        };
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        consumer.setMaxReconsumeTimes(1);
        consumer.subscribe(topic, "T");
        consumer.registerMessageListener(inbox);
        consumer.start();
        SendResult sent = producer.send(new Message(topic, "T", "retry-key", "bad".getBytes(StandardCharsets.UTF_8)));
        producer.send(new Message(topic, "T", "", "good".getBytes(StandardCharsets.UTF_8)));
        until("delivered twice", 90, () -> Collections.frequency(inbox.bodies(), "bad") >= 2);
        String dead = "%DLQ%" + group;
        until("one dead letter", LONG, () -> cluster.read(dead).size() == 1);
        List<MessageExt> bad = inbox.messages().stream().filter(message -> body(message).equals("bad")).collect(Collectors.toList());
        equal("deliveries", 2, bad.size());
        equal("attempts", "0 1", bad.get(0).getReconsumeTimes() + " " + bad.get(1).getReconsumeTimes());
        equal("topic of the second delivery", topic, bad.get(1).getTopic());
        equal("id of the second delivery", sent.getMsgId(), bad.get(1).getMsgId());
        long waited = bad.get(1).getStoreTimestamp() - bad.get(0).getStoreTimestamp();
        yes("the first retry comes after 10 s, not " + waited + " ms", waited >= 9_500 && waited < 60_000);
        MessageExt letter = cluster.read(dead).get(0);
        equal("dead letter", "bad", body(letter));
        equal("keys of the dead letter", "retry-key", letter.getKeys());
        equal("tag of the dead letter", "T", letter.getTags());
        equal("topic the dead letter came from", topic, letter.getProperty("RETRY_TOPIC"));
        equal("deliveries of the good one", 1, Collections.frequency(inbox.bodies(), "good"));
        consumer.shutdown();
        Inbox letters = new Inbox();
        DefaultMQPushConsumer undertaker = listen("dead", dead, "*", letters);
        letters.awaitExactly(Collections.singleton("bad"), LONG);
        undertaker.shutdown();
    }

    private void orderlyRetryUntilDeadLetter() throws Exception {
        String topic = cluster.topic("orderly-retry", 1);
        String group = cluster.unique("group-orderly-retry");
        List<String> seen = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        consumer.setMaxReconsumeTimes(1);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            seen.add(body(batch.get(0)));
            return body(batch.get(0)).equals("bad") ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        producer.send(message(topic, "bad"), queue);
        producer.send(message(topic, "next"), queue);
        until("the next message is consumed", LONG, () -> seen.contains("next"));
        equal("deliveries", Arrays.asList("bad", "bad", "next"), new ArrayList<>(seen));
        until("one dead letter", LONG, () -> cluster.read("%DLQ%" + group).size() == 1);
        equal("dead letter", "bad", body(cluster.read("%DLQ%" + group).get(0)));
        consumer.shutdown();
    }

    private void resetToTimeWhileConsuming() throws Exception {
        String topic = cluster.topic("reset", 2);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = listen("reset", topic, "*", inbox);
        send(topic, bodies("old", 10));
        inbox.awaitExactly(bodies("old", 10), LONG);
        long last = inbox.messages().stream().mapToLong(MessageExt::getStoreTimestamp).max().getAsLong();
        until("the clock has moved on", 5, () -> System.currentTimeMillis() > last + 50);
        long time = System.currentTimeMillis();
        until("the clock has moved on", 5, () -> System.currentTimeMillis() > time + 50);
        inbox.clear();
        send(topic, bodies("new", 10));
        inbox.awaitExactly(bodies("new", 10), LONG);
        inbox.clear();
        cluster.admin.resetOffsetByTimestamp(topic, cluster.unique("group-reset"), time, true);
        inbox.awaitExactly(bodies("new", 10), LONG);
        consumer.shutdown();
    }

    private void failover(long victim) throws Exception {
        String topic = cluster.topic("failover", 2);
        int queues = cluster.queues(topic);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = listen("failover", topic, "*", inbox);
        Set<String> used = new HashSet<>();
        for (String body : bodies("f", queues * 2)) {
            used.add(producer.send(message(topic, body)).getMessageQueue().getBrokerName());
        }
        equal("brokers used", 2, used.size());
        inbox.awaitAll(bodies("f", queues * 2), LONG);
        ProcessHandle.of(victim).ifPresent(ProcessHandle::destroyForcibly);
        send(topic, bodies("g", 20));
        inbox.awaitAll(bodies("g", 20), LONG);
        consumer.shutdown();
    }

    // ---- looking up -----------------------------------------------------------------------------------------------

    private void query() throws Exception {
        String topic = cluster.topic("query", 2);
        long begin = System.currentTimeMillis() - 60_000;
        SendResult sent = null;
        for (String body : bodies("q", 6)) {
            sent = producer.send(new Message(topic, "T", "all " + body, body.getBytes(StandardCharsets.UTF_8)));
        }
        SendResult last = sent;
        long end = System.currentTimeMillis() + 60_000;
        until("6 messages with the common key", LONG, () -> producer.queryMessage(topic, "all", 32, begin, end).getMessageList().size() == 6);
        equal("by its own key", Collections.singleton("q5"), set(producer.queryMessage(topic, "q5", 32, begin, end).getMessageList()));
        equal("by unique key", "q5", body(producer.viewMessage(topic, last.getMsgId())));
        equal("by offset id", "q5", body(producer.viewMessage(topic, last.getOffsetMsgId())));
    }
}
