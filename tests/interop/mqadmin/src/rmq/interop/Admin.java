package rmq.interop;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs commands of mqadmin on known content, and compares what they print, made independent of time and place, with
 * what they printed on Apache RocketMQ 5.5.0 (expected.txt). Arguments: name server, broker, expected.txt, and "record"
 * to write that file instead. One JVM runs them all: the tool's main method needs no process of its own.
 */
public final class Admin {
    /** Of these the order of the lines depends on hash tables. */
    private static final List<String> UNORDERED = Arrays.asList("topicList", "consumerProgress", "consumeMessage", "resetOffsetByTime");

    private final String namesrv;
    private final String broker;
    private final Map<String, String> printed = new LinkedHashMap<>();
    private final List<Double> seconds = new ArrayList<>();

    private Admin(String namesrv, String broker) {
        this.namesrv = namesrv;
        this.broker = broker;
    }

    public static void main(String[] args) throws Exception {
        Admin admin = new Admin(args[0], args[1]);
        Path file = Path.of(args[2]);
        int status = 0;
        try {
            admin.scenario();
        } catch (Throwable problem) {
            System.out.println("FAIL mqadmin: the content could not be made: " + problem);
            status = 3;
        }
        if (args.length > 3) {
            StringBuilder text = new StringBuilder();
            admin.printed.forEach((command, output) -> text.append("### ").append(command).append('\n').append(output));
            Files.writeString(file, text.toString());
        } else if (!admin.compare(Files.readString(file))) {
            status = 3;
        }
        System.out.flush();
        Runtime.getRuntime().halt(status);
    }

    // ---- content and commands -------------------------------------------------------------------------------------

    private void scenario() throws Exception {
        run("clusterList");
        run("updateTopic -t OrderTopic -b <broker> -r 2 -w 2");
        run("updateTopic -t NewTopic -c DefaultCluster -r 3 -w 2 -p 6");
        run("updateTopic -t bad*name -b <broker>");
        run("updateTopic -t NewTopic -c NoCluster");
        run("updateSubGroup -g late-group -b <broker>");
        run("updateSubGroup -g new-group -c DefaultCluster -s false -m false -d false -q 2 -r 3 -i 0 -w 1 -a false");
        run("updateSubGroup -g bad/name -b <broker>");

        Cluster cluster = new Cluster(namesrv);
        List<SendResult> sent = send(cluster, "OrderTopic");
        consume(cluster, "late-group", "OrderTopic", "*").shutdown();
        DefaultMQPushConsumer consumer = consume(cluster, "order-group", "OrderTopic", "TagA || TagB");
        for (int queue = 0; queue < 2; queue++) {
            cluster.admin.updateConsumeOffset(broker, "late-group", new MessageQueue("OrderTopic", "broker-a", queue), 1);
        }

        run("topicList");
        run("topicRoute -t OrderTopic");
        run("topicRoute -t OrderTopic -l");
        run("topicRoute -t NewTopic");
        run("topicRoute -t NoTopic");
        run("topicStatus -t OrderTopic");
        run("topicStatus -t NewTopic");
        run("topicStatus -t NoTopic");
        run("consumerProgress");
        run("consumerProgress -g order-group");
        run("consumerProgress -g late-group");
        run("consumerProgress -g nobody");
        run("consumerConnection -g order-group");
        run("consumerConnection -g late-group");
        run("consumerConnection -g nobody");
        run("brokerStatus -b <broker>");

        Map<String, String> ids = Map.of("<offset-id>", sent.get(0).getOffsetMsgId(), "<message-id>", sent.get(2).getMsgId());
        run("queryMsgById -t OrderTopic -i <offset-id>", ids);
        run("queryMsgById -t OrderTopic -i nonsense");
        run("queryMsgByKey -t OrderTopic -k order-3");
        run("queryMsgByKey -t OrderTopic -k batch1");
        run("queryMsgByKey -t OrderTopic -k absent");
        run("queryMsgByUniqueKey -t OrderTopic -i <message-id>", ids);
        run("queryMsgByOffset -t OrderTopic -b broker-a -i 0 -o 0");
        run("queryMsgByOffset -t OrderTopic -b broker-a -i 0 -o 99");

        run("resetOffsetByTime -g late-group -t OrderTopic -s 0");
        run("resetOffsetByTime -g late-group -t OrderTopic -s now -b <broker> -q 0 -o 2");
        run("resetOffsetByTime -g late-group -t OrderTopic -s now");
        run("resetOffsetByTime -g nobody -t OrderTopic -s now");
        run("consumerProgress -g late-group");

        run("consumeMessage -t OrderTopic");
        run("consumeMessage -t OrderTopic -b broker-a -i 0 -o 1 -c 2");
        run("sendMessage -t OrderTopic -p hello -k sentkey -c TagS -b broker-a -i 1");
        run("sendMessage -t NewTopic -p hello -b broker-a -i 0");
        run("topicStatus -t OrderTopic");

        run("deleteTopic -t NewTopic -c DefaultCluster");
        run("deleteTopic -t NoTopic -c DefaultCluster");
        run("deleteTopic -t TBW102 -c DefaultCluster");
        run("topicRoute -t NewTopic");
        consumer.shutdown();
    }

    /** 12 messages, in turn to queue 0 and 1, with tags and keys. */
    private List<SendResult> send(Cluster cluster, String topic) throws Exception {
        DefaultMQProducer producer = cluster.producer();
        Checks.until("route of " + topic, 60, () -> cluster.queues(topic) == 2);
        List<SendResult> sent = new ArrayList<>();
        for (int n = 0; n < 12; n++) {
            Message message = new Message(topic, "Tag" + "ABC".charAt(n % 3), "order-" + n + " batch" + n / 4,
                ("order body " + n).getBytes(StandardCharsets.UTF_8));
            sent.add(producer.send(message, new MessageQueue(topic, "broker-a", n % 2)));
        }
        producer.shutdown();
        return sent;
    }

    /** A started consumer; returns when the broker knows that it has consumed everything. */
    private DefaultMQPushConsumer consume(Cluster cluster, String group, String topic, String tags) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        consumer.setInstanceName("consumer");
        consumer.setPollNameServerInterval(1000);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener(new Inbox());
        consumer.start();
        Checks.until(group + " has consumed everything", 150, () -> {
            var stats = cluster.admin.examineConsumeStats(group);
            return stats.getOffsetTable().size() == 3 && stats.computeTotalDiff() == 0;
        });
        return consumer;
    }

    private void run(String command) throws Exception {
        run(command, Map.of());
    }

    private void run(String command, Map<String, String> ids) throws Exception {
        String filled = command.replace("<broker>", broker);
        for (Map.Entry<String, String> id : ids.entrySet()) {
            filled = filled.replace(id.getKey(), id.getValue());
        }
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream output = new ByteArrayOutputStream();
        ByteArrayOutputStream errors = new ByteArrayOutputStream();
        System.setOut(new PrintStream(output, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(errors, true, StandardCharsets.UTF_8));
        long started = System.nanoTime();
        try {
            // The commands keep clients that they have closed.
            Field commands = MQAdminStartup.class.getDeclaredField("SUB_COMMANDS");
            commands.setAccessible(true);
            ((List<?>) commands.get(null)).clear();
            MQAdminStartup.main0((filled + " -n " + namesrv).split(" "), null);
        } finally {
            System.setOut(out);
            System.setErr(err);
            seconds.add((System.nanoTime() - started) / 1e9);
        }
        String name = command;
        for (int n = 2; printed.containsKey(name); n++) {
            name = command + " (" + n + ")";
        }
        printed.put(name, normal(command.split(" ")[0], output.toString(StandardCharsets.UTF_8))
            + normalErrors(errors.toString(StandardCharsets.UTF_8)));
    }

    // ---- comparing ------------------------------------------------------------------------------------------------

    private boolean compare(String text) {
        Map<String, String> expected = new LinkedHashMap<>();
        for (String section : text.split("(?m)^### ")) {
            if (!section.isEmpty()) {
                int end = section.indexOf('\n');
                expected.put(section.substring(0, end), section.substring(end + 1));
            }
        }
        boolean passed = true;
        Iterator<Double> time = seconds.iterator();
        for (Map.Entry<String, String> entry : expected.entrySet()) {
            String difference = difference(entry.getKey(), entry.getValue(), printed.getOrDefault(entry.getKey(), "(did not run)"));
            String took = time.hasNext() ? String.format(" %.1fs", time.next()) : "";
            System.out.println(difference == null ? "pass mqadmin " + entry.getKey() + took : "FAIL mqadmin " + entry.getKey() + ": " + difference);
            passed &= difference == null;
        }
        return passed;
    }

    /** Null when alike. Of the broker's status more lines than Apache's may be there. */
    private static String difference(String command, String expected, String actual) {
        List<String> missing = new ArrayList<>(expected.lines().collect(Collectors.toList()));
        List<String> more = new ArrayList<>(actual.lines().collect(Collectors.toList()));
        if (missing.equals(more)) {
            return null;
        }
        List<String> both = new ArrayList<>(missing);
        more.forEach(missing::remove);
        both.forEach(more::remove);
        if (command.startsWith("brokerStatus")) {
            if (missing.isEmpty()) {
                return null;
            }
        } else if (missing.isEmpty() && more.isEmpty()) {
            return "the lines have another order";
        }
        return "missing " + missing + ", printed instead " + more;
    }

    /** Without empty lines, and without the topics of a store in RocksDB, which is another product's business. */
    private static String normal(String command, String output) {
        String text = output.replace("MessageTrack [", "\nMessageTrack [");
        List<String> lines = text.lines().map(line -> normalLine(command, line)).filter(line -> !line.isBlank())
            .filter(line -> !line.startsWith("RMQ_SYS_ROCKSDB_")).collect(Collectors.toList());
        if (UNORDERED.contains(command) || text.contains("MessageTrack [")) {
            lines.sort(null);
        }
        return lines.stream().map(line -> line + "\n").collect(Collectors.joining());
    }

    /** Of an exception what it is and what the server said. */
    private static String normalErrors(String errors) {
        return errors.lines().filter(line -> line.contains("Exception:") && !line.startsWith("\t"))
            .map(line -> normalLine("", line) + "\n").collect(Collectors.joining());
    }

    private static String normalLine(String command, String line) {
        String text = line;
        if (command.equals("clusterList") || command.equals("brokerStatus")) {
            text = text.replaceAll("\\d+\\.\\d+\\.\\d+\\.\\d+:\\d+", "<address>").replaceAll("\\bV\\d+_\\d+_\\d+\\w*", "<version>")
                .replaceAll("\\d+(\\.\\d+)?([Ee]-?\\d+)?", "<n>").replaceAll("_/[^ :]*", "_<path>").replaceAll("[KMGT]i?B", "<unit>")
                .replaceAll("<n>( <n>)+", "<n>..."); // as many as the uptime allows
        }
        text = text.replaceAll("\\b[0-9A-F]{32,56}\\b", "<id>")
            .replaceAll("\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d(,\\d{3})?", "<time>")
            .replaceAll("\\d+\\.\\d+\\.\\d+\\.\\d+:\\d+", "<address>")
            .replaceAll("\\d+\\.\\d+\\.\\d+\\.\\d+", "<ip>")
            .replaceAll("\\bV\\d+_\\d+_\\d+\\w*", "<version>")
            .replaceAll("\\b\\d{13}\\b", "<ms>")
            .replaceAll("(commitLogOffset=|storeSize=|CommitLog Offset: +|@<id>@)\\d+", "$1<n>");
        return sortProperties(text.replaceAll("\\d+\\.\\d+", "<f>").replaceAll(" {2,}", "  ").stripTrailing());
    }

    /** What stands in the inner braces is printed in the order of a hash table. */
    private static String sortProperties(String line) {
        Matcher braces = Pattern.compile("\\{([^{}]*=[^{}]*)\\}").matcher(line);
        return braces.replaceAll(found -> Matcher.quoteReplacement(
            "{" + String.join(", ", new TreeSet<>(Arrays.asList(found.group(1).split(", ")))) + "}"));
    }
}
