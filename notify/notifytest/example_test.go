package notifytest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/slack"
)

// A Recorder stands for the operators in the tests of a service.
func ExampleRecorder() {
	var ops notifytest.Recorder
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	_ = hub.Send(context.Background(), "price changed", "Tea costs 4.20 now.")
	for _, m := range ops.Messages() {
		fmt.Println(m.Subject)
	}
	// Output: price changed
}

// A mail server that greylists once and loses its connections.
func ExampleSMTP() {
	server, err := notifytest.StartSMTP(&notifytest.SMTPOptions{Username: "shop", Password: "secret-enough"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	var step notifytest.Step = notifytest.StepRCPT
	server.Inject(notifytest.Fault{Step: step, Reply: "450 4.7.1 greylisted", Times: 1})

	client, err := email.New(&email.Options{
		Host: server.Host(), Port: server.Port(), TLSConfig: server.TLSConfig(),
		Username: "shop", Password: secret.New("secret-enough"), From: "shop@example.com", To: []string{"ops@example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	ctx := context.Background()
	fmt.Println(client.Send(ctx, "s", "t"))
	server.Drop()
	fmt.Println(client.Send(ctx, "s", "t"))
	var mails []notifytest.Mail = server.Mails()
	fmt.Println(len(mails), mails[0].From)
	// Output:
	// notify: RCPT <ops@example.com>: 450 4.7.1 greylisted
	// <nil>
	// 1 shop@example.com
}

// A Slack that asks for a pause.
func ExampleSlack() {
	server := notifytest.StartSlack(&notifytest.SlackOptions{Burst: 10})
	defer server.Close()
	server.Inject(notifytest.SlackFault{Status: 429, Header: map[string]string{"Retry-After": "2"}, Times: 1})

	hook, err := slack.NewWebhook(secret.New(server.WebhookURL()), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	for _, e := range notify.Errors(hook.Send(ctx, "s", "t")) {
		fmt.Println(e.Class, e.Wait == 2*time.Second)
	}
	_ = hook.Send(ctx, "s", "t")
	var shown []notifytest.SlackMessage = server.Messages()
	var requests []notifytest.SlackRequest = server.Requests()
	fmt.Println(len(shown), len(requests), requests[0].Status)
	// Output:
	// throttled true
	// 1 2 429
}

// A receiver of one's own is checked by the suite, in a test with Run.
func ExampleCheck() {
	var far notifytest.Recorder
	err := notifytest.Check(notifytest.Harness{
		New: func() (notify.Notifier, error) { return &far, nil },
		Received: func() (texts []string) {
			for _, m := range far.Messages() {
				texts = append(texts, m.Subject)
			}
			return texts
		},
	})
	fmt.Println(err)
	// Output: <nil>
}
