// Apache's Go client v2 as an application uses it: send, consume in both modes, fail until dead letters.
// Usage: go-client NAMESRV BROKER. Prints a line per check, exits 0 or, when one failed, 3.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const long = 90 * time.Second

var (
	namesrv  = primitive.NamesrvAddr{os.Args[1]}
	run      = fmt.Sprintf("go-%d", os.Getpid())
	clients  = 0
	clientMu sync.Mutex
)

func main() {
	rlog.SetLogLevel("fatal")
	checks := []struct {
		name string
		body func() error
	}{
		{"send", send},
		{"send-creates-topic", sendCreatesTopic},
		{"cluster-shares", clusterShares},
		{"broadcast", broadcast},
		{"tags", tags},
		{"orderly", orderly},
		{"retry-until-dead-letter", retryUntilDeadLetter},
	}
	failed := false
	var all sync.WaitGroup
	for _, check := range checks {
		all.Add(1)
		go func() { // they mostly wait
			defer all.Done()
			started := time.Now()
			if err := check.body(); err != nil {
				failed = true
				fmt.Printf("FAIL go-%s: %v\n", check.name, err)
			} else {
				fmt.Printf("pass go-%s %.1fs\n", check.name, time.Since(started).Seconds())
			}
		}()
	}
	all.Wait()
	if failed {
		os.Exit(3)
	}
}

// ---- clients ------------------------------------------------------------------------------------------------------

// instance is a name of its own for each client: clients of one instance share connections and groups.
func instance() string {
	clientMu.Lock()
	defer clientMu.Unlock()
	clients++
	return fmt.Sprintf("%s-%d", run, clients)
}

func newProducer() (rocketmq.Producer, error) {
	name := instance()
	p, err := rocketmq.NewProducer(producer.WithNameServer(namesrv), producer.WithGroupName("producer-"+name),
		producer.WithInstanceName(name), producer.WithRetry(2), producer.WithSendMsgTimeout(10*time.Second))
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

func newTopic(name string) (string, error) {
	topic := name + "-" + run
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(namesrv)))
	if err != nil {
		return "", err
	}
	defer a.Close()
	if err := a.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(os.Args[2]),
		admin.WithReadQueueNums(4), admin.WithWriteQueueNums(4)); err != nil {
		return "", err
	}
	return topic, until("route of "+topic, func() bool {
		queues, err := a.FetchPublishMessageQueues(context.Background(), topic)
		return err == nil && len(queues) == 4
	})
}

// inbox keeps what consumers received.
type inbox struct {
	mu       sync.Mutex
	messages []*primitive.MessageExt
}

func (i *inbox) bodies() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var bodies []string
	for _, message := range i.messages {
		bodies = append(bodies, string(message.Body))
	}
	return bodies
}

// listen starts a push consumer that reads from the first message; `judge` says what to answer.
func listen(group, topic, tags string, in *inbox, judge func(*primitive.MessageExt) consumer.ConsumeResult,
	options ...consumer.Option) (rocketmq.PushConsumer, error) {
	options = append([]consumer.Option{consumer.WithNameServer(namesrv), consumer.WithGroupName(group + "-" + run),
		consumer.WithInstance(instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	err = c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.messages = append(in.messages, messages...)
			return judge(messages[0]), nil
		})
	if err != nil {
		return nil, err
	}
	return c, c.Start()
}

func accept(*primitive.MessageExt) consumer.ConsumeResult { return consumer.ConsumeSuccess }

func sendAll(p rocketmq.Producer, topic string, bodies []string) error {
	for _, body := range bodies {
		result, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body)))
		if err != nil {
			return err
		}
		if result.Status != primitive.SendOK {
			return fmt.Errorf("send status %v", result.Status)
		}
	}
	return nil
}

// ---- conditions ---------------------------------------------------------------------------------------------------

func until(what string, holds func() bool) error {
	for deadline := time.Now().Add(long); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return nil
		}
	}
	return fmt.Errorf("not within %v: %s", long, what)
}

func numbered(prefix string, count int) []string {
	var bodies []string
	for n := range count {
		bodies = append(bodies, fmt.Sprintf("%s%d", prefix, n))
	}
	return bodies
}

// awaitExactly wants each of these bodies once, in any order, and no other.
func awaitExactly(in *inbox, expected []string) error {
	if err := until(fmt.Sprintf("%d messages", len(expected)), func() bool { return len(in.bodies()) >= len(expected) }); err != nil {
		return fmt.Errorf("%w, received %v", err, in.bodies())
	}
	return same(in.bodies(), expected)
}

func same(actual, expected []string) error {
	a, e := append([]string{}, actual...), append([]string{}, expected...)
	sort.Strings(a)
	sort.Strings(e)
	if strings.Join(a, " ") != strings.Join(e, " ") {
		return fmt.Errorf("received %v, expected %v", a, e)
	}
	return nil
}

// ---- checks -------------------------------------------------------------------------------------------------------

// Sync, async, one-way and a batch: all of it is consumed.
func send() error {
	topic, err := newTopic("send")
	if err != nil {
		return err
	}
	p, err := newProducer()
	if err != nil {
		return err
	}
	defer p.Shutdown()
	sync, async, oneway, batch := numbered("sync", 10), numbered("async", 10), numbered("oneway", 10), numbered("batch", 10)
	if err := sendAll(p, topic, sync); err != nil {
		return err
	}
	done := make(chan error, len(async))
	for _, body := range async {
		err := p.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) { done <- err },
			primitive.NewMessage(topic, []byte(body)))
		if err != nil {
			return err
		}
	}
	for range async {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
		case <-time.After(long):
			return fmt.Errorf("an async send was not answered")
		}
	}
	for _, body := range oneway {
		if err := p.SendOneWay(context.Background(), primitive.NewMessage(topic, []byte(body))); err != nil {
			return err
		}
	}
	var messages []*primitive.Message
	for _, body := range batch {
		messages = append(messages, primitive.NewMessage(topic, []byte(body)))
	}
	if result, err := p.SendSync(context.Background(), messages...); err != nil || result.Status != primitive.SendOK {
		return fmt.Errorf("batch: %v %v", result, err)
	}
	large := primitive.NewMessage(topic, []byte(strings.Repeat("large body ", 20000)))
	large.WithProperty("colour", "grün")
	if _, err := p.SendSync(context.Background(), large); err != nil {
		return err
	}
	in := &inbox{}
	c, err := listen("send", topic, "*", in, accept)
	if err != nil {
		return err
	}
	defer c.Shutdown()
	all := append(append(append(append(sync, async...), oneway...), batch...), string(large.Body))
	if err := awaitExactly(in, all); err != nil {
		return err
	}
	for _, message := range in.messages {
		if len(message.Body) > 1000 && message.GetProperty("colour") != "grün" {
			return fmt.Errorf("property of the large message: %q", message.GetProperty("colour"))
		}
	}
	return nil
}

func sendCreatesTopic() error {
	p, err := newProducer()
	if err != nil {
		return err
	}
	defer p.Shutdown()
	topic := "created-" + run
	if err := sendAll(p, topic, []string{"first"}); err != nil {
		return err
	}
	in := &inbox{}
	c, err := listen("created", topic, "*", in, accept)
	if err != nil {
		return err
	}
	defer c.Shutdown()
	return awaitExactly(in, []string{"first"})
}

// Two members of a group share the messages.
func clusterShares() error {
	topic, err := newTopic("cluster")
	if err != nil {
		return err
	}
	p, err := newProducer()
	if err != nil {
		return err
	}
	defer p.Shutdown()
	one, two := &inbox{}, &inbox{}
	first, err := listen("cluster", topic, "*", one, accept)
	if err != nil {
		return err
	}
	defer first.Shutdown()
	second, err := listen("cluster", topic, "*", two, accept)
	if err != nil {
		return err
	}
	defer second.Shutdown()
	// No call tells which queues a consumer owns: rounds of one message a queue until both get a half of one.
	for round := 0; ; round++ {
		before := [2]int{len(one.bodies()), len(two.bodies())}
		bodies := numbered(fmt.Sprintf("round%d-", round), 8)
		if err := sendAll(p, topic, bodies); err != nil {
			return err
		}
		both := func() []string { return append(one.bodies(), two.bodies()...) }
		if err := until("all of a round", func() bool {
			return len(both()) >= (round+1)*8 && len(intersect(both(), bodies)) == 8
		}); err != nil {
			return err
		}
		if len(one.bodies())-before[0] == 4 && len(two.bodies())-before[1] == 4 {
			return nil
		}
		if round == 90 {
			return fmt.Errorf("the queues are never shared equally")
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func intersect(bodies, wanted []string) map[string]bool {
	found := map[string]bool{}
	for _, body := range bodies {
		for _, other := range wanted {
			if body == other {
				found[body] = true
			}
		}
	}
	return found
}

func broadcast() error {
	topic, err := newTopic("broadcast")
	if err != nil {
		return err
	}
	p, err := newProducer()
	if err != nil {
		return err
	}
	defer p.Shutdown()
	inboxes := []*inbox{{}, {}}
	for _, in := range inboxes {
		c, err := listen("broadcast", topic, "*", in, accept, consumer.WithConsumerModel(consumer.BroadCasting))
		if err != nil {
			return err
		}
		defer c.Shutdown()
	}
	bodies := numbered("b", 20)
	if err := sendAll(p, topic, bodies); err != nil {
		return err
	}
	for _, in := range inboxes {
		if err := awaitExactly(in, bodies); err != nil {
			return err
		}
	}
	return nil
}

// ASCII only: this client hashes the bytes of a tag, all others its UTF-16 units.
func tags() error {
	topic, err := newTopic("tags")
	if err != nil {
		return err
	}
	p, err := newProducer()
	if err != nil {
		return err
	}
	defer p.Shutdown()
	for _, tag := range []string{"red", "green", "blue", "redder"} {
		if _, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(tag)).WithTag(tag)); err != nil {
			return err
		}
	}
	in := &inbox{}
	c, err := listen("tags", topic, "red || blue", in, accept)
	if err != nil {
		return err
	}
	defer c.Shutdown()
	return awaitExactly(in, []string{"red", "blue"})
}

// Messages of one queue come in their order, one batch at a time.
func orderly() error {
	topic, err := newTopic("orderly")
	if err != nil {
		return err
	}
	p, err := newProducer()
	if err != nil {
		return err
	}
	defer p.Shutdown()
	if err := sendAll(p, topic, numbered("", 80)); err != nil {
		return err
	}
	in := &inbox{}
	c, err := listen("orderly", topic, "*", in, accept, consumer.WithConsumerOrder(true))
	if err != nil {
		return err
	}
	defer c.Shutdown()
	if err := awaitExactly(in, numbered("", 80)); err != nil {
		return err
	}
	next := map[int]int64{}
	for _, message := range in.messages {
		if message.QueueOffset != next[message.Queue.QueueId] {
			return fmt.Errorf("queue %d: offset %d after %d", message.Queue.QueueId, message.QueueOffset, next[message.Queue.QueueId]-1)
		}
		next[message.Queue.QueueId]++
	}
	return nil
}

func retryUntilDeadLetter() error {
	topic, err := newTopic("retry")
	if err != nil {
		return err
	}
	p, err := newProducer()
	if err != nil {
		return err
	}
	defer p.Shutdown()
	in := &inbox{}
	c, err := listen("retry", topic, "*", in, func(message *primitive.MessageExt) consumer.ConsumeResult {
		if string(message.Body) == "bad" {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	}, consumer.WithMaxReconsumeTimes(1))
	if err != nil {
		return err
	}
	defer c.Shutdown()
	if err := sendAll(p, topic, []string{"bad", "good"}); err != nil {
		return err
	}
	// The dead letter's topic appears with it.
	letters := &inbox{}
	var undertaker rocketmq.PushConsumer
	if err := until("dead letter topic", func() bool {
		undertaker, err = listen("dead", "%DLQ%retry-"+run, "*", letters, accept)
		return err == nil
	}); err != nil {
		return err
	}
	defer undertaker.Shutdown()
	if err := awaitExactly(letters, []string{"bad"}); err != nil {
		return err
	}
	return same(in.bodies(), []string{"bad", "bad", "good"})
}
