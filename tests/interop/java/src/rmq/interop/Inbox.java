package rmq.interop;

import static rmq.interop.Checks.until;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** A listener that keeps what it receives. */
class Inbox implements MessageListenerConcurrently {
    private final List<MessageExt> messages = new ArrayList<>();

    @Override
    public ConsumeConcurrentlyStatus consumeMessage(List<MessageExt> batch, ConsumeConcurrentlyContext context) {
        synchronized (messages) {
            messages.addAll(batch);
        }
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    List<MessageExt> messages() {
        synchronized (messages) {
            return new ArrayList<>(messages);
        }
    }

    List<String> bodies() {
        return messages().stream().map(Cluster::body).collect(Collectors.toList());
    }

    int size() {
        synchronized (messages) {
            return messages.size();
        }
    }

    void clear() {
        synchronized (messages) {
            messages.clear();
        }
    }

    /** Waits until every one of these bodies was received, however often. */
    void awaitAll(Collection<String> expected, int seconds) throws Exception {
        until("received " + expected.size() + " messages", seconds, () -> bodies().containsAll(expected));
    }

    /** Waits for these bodies, and wants no other and each once. */
    void awaitExactly(Collection<String> expected, int seconds) throws Exception {
        awaitAll(expected, seconds);
        Checks.equal("messages received", new TreeSet<>(expected).toString() + expected.size(),
            new TreeSet<>(bodies()).toString() + size());
    }
}
