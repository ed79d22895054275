package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

func Example() {
	var mail, chat notifytest.Recorder // in a service an email.Client and a slack.Webhook
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{
			{Name: "ops-mail", Notifier: &mail, MinLevel: slog.LevelWarn, Fallback: "ops-chat"},
			{Name: "ops-chat", Notifier: &chat, MinLevel: slog.LevelError, Rate: notify.Rate{Per: time.Second, Burst: 4}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	if err := hub.Send(context.Background(), "price changed", "Tea costs 4.20 now."); err != nil {
		fmt.Println(err)
	}
	fmt.Println(len(mail.Messages()), len(chat.Messages()))
	// Output: 1 1
}

// A service keeps one Hub: it runs beside the rest and is a Notifier itself.
func ExampleHub() {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var ops notifytest.Recorder
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{{
			Name: "ops", Notifier: &ops, Timeout: 10 * time.Second,
			Retry: notify.Retry{Base: time.Second, Max: time.Minute, MaxElapsed: time.Hour},
		}},
		Outbox: notify.Outbox{Dir: dir, MaxAge: 24 * time.Hour},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()

	var notifier notify.Notifier = hub
	if err := notifier.Send(ctx, "backup failed", "disk full"); err != nil { // stored now
		fmt.Println(err)
	}
	if _, err := ops.Wait(ctx, 1); err != nil { // and delivered by Run
		fmt.Println(err)
	}
	stop()
	fmt.Println(<-done, hub.Close())
	// Output: <nil> <nil>
}

func ExampleMessage() {
	m := notify.Message{
		Level: slog.LevelError, Subject: "disk full", Text: "Writes fail.", Key: "disk-db1",
		Attrs:       []slog.Attr{slog.String("host", "db1"), slog.Group("disk", slog.Int("free_percent", 1))},
		Attachments: []notify.Attachment{{Name: "df.txt", ContentType: "text/plain", Data: []byte("…")}},
		Count:       3, First: time.Unix(0, 0), Last: time.Unix(60, 0),
	}
	fmt.Println(m.Title())
	fmt.Println(m.Body())
	for _, f := range m.Fields() { // each a notify.Field
		fmt.Println(notify.Field{Name: f.Name, Value: f.Value})
	}
	// Output:
	// disk full (×3)
	// Writes fail.
	//
	// host: db1
	// disk.free_percent: 1
	// ×3 since 1970-01-01 00:00:00 UTC, last 1970-01-01 00:01:00 UTC
	// attachment: df.txt (3 bytes)
	// {host db1}
	// {disk.free_percent 1}
}

// The first message of a kind goes out at once, the repeats as one.
func ExampleGroup() {
	var ops notifytest.Recorder
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}},
		Group:     notify.Group{Interval: 5 * time.Minute, Repeat: time.Hour, By: []string{"host"}},
		Source:    "shop",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 1000 {
		_ = hub.Notify(context.Background(), notify.Message{Subject: "disk full", Attrs: []slog.Attr{slog.String("host", "db1")}})
	}
	_ = hub.Close() // tells what is held
	for _, m := range ops.Messages() {
		fmt.Println(m.Title())
	}
	// Output:
	// [INFO shop] disk full
	// [INFO shop] disk full (×1000)
}

func ExampleErrors() {
	refuses := notifierFunc(func(context.Context, string, string) error {
		return &notify.Error{Class: notify.ClassRejected, Code: 550, Enhanced: "5.1.1", Reason: "unknown user"}
	})
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops-mail", Notifier: refuses}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	err = hub.Send(context.Background(), "subject", "text")
	for _, e := range notify.Errors(err) {
		var class notify.Class = e.Class
		fmt.Println(e.Receiver, class, e.Code, e.Temporary())
	}
	fmt.Println(err)
	// Output:
	// ops-mail rejected 550 false
	// notify: send ops-mail: 550 5.1.1 unknown user
}

// Any type with a Send method is a receiver; more methods are found.
func ExampleNotifier() {
	var n notify.Notifier = pager{}
	_, whole := n.(notify.MessageNotifier)
	_, recipients := n.(notify.RecipientNotifier)
	_, checks := n.(notify.Checker)
	_, previews := n.(notify.Previewer)
	_, secrets := n.(notify.SecretHolder)
	_, threads := n.(notify.ThreadNotifier)
	fmt.Println(whole, recipients, checks, previews, secrets, threads)
	// Output: true false true true true false
}

// pager is a receiver that uses what a Hub offers.
type pager struct{ token secret.Secret }

func (p pager) Send(ctx context.Context, subject, message string) error {
	return p.Notify(ctx, notify.Message{Subject: subject, Text: message})
}

func (p pager) Notify(ctx context.Context, m notify.Message) error {
	if err := ctx.Err(); err != nil {
		return notify.NewError("page", err) // typed, and free of secrets
	}
	return nil
}

func (p pager) Check(context.Context) error              { return nil }
func (p pager) Preview(m notify.Message) ([]byte, error) { return []byte(m.Title()), nil }
func (p pager) Secrets() []secret.Secret                 { return []secret.Secret{p.token} }

// A logger whose errors reach the operators.
func ExampleNewHandler() {
	var ops notifytest.Recorder
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Source: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	next := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	log := slog.New(notify.NewHandler(hub, next, &notify.HandlerOptions{By: []string{"shop"}}))
	log.Info("scraped", "shop", "tea")
	log.Error("no answer", "shop", "tea")
	log.Error("no answer", "shop", "tea") // counted
	_ = hub.Close()
	for _, m := range ops.Messages() {
		fmt.Println("alert:", m.Title())
	}
	// Output:
	// level=INFO msg=scraped shop=tea
	// level=ERROR msg="no answer" shop=tea
	// level=ERROR msg="no answer" shop=tea
	// alert: [ERROR shop] no answer
	// alert: [ERROR shop] no answer (×2)
}

func ExampleHub_Stats() {
	down := notifierFunc(func(context.Context, string, string) error {
		return &notify.Error{Class: notify.ClassRejected, Reason: "no such channel"}
	})
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "chat", Notifier: down}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	_ = hub.Send(context.Background(), "subject", "text")
	var stats notify.Stats = hub.Stats()
	var chat notify.ReceiverStats = stats.Receivers[0]
	fmt.Println(chat.Name, chat.Sent, chat.Failed, chat.Waiting)
	fmt.Println(chat.LastError)
	// Output:
	// chat 0 1 0
	// notify: send chat: no such channel
}

// Settings of a service hold the Options; code adds what sends.
func ExampleOptions_Bind() {
	settings := notify.Options{Receivers: []notify.Receiver{{Name: "ops", MinLevel: slog.LevelError, Timeout: 10 * time.Second}}}
	var ops notifytest.Recorder
	settings.Bind(map[string]notify.Notifier{"ops": &ops})
	hub, err := notify.New(&settings)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	err = hub.Notify(context.Background(), notify.Message{Level: slog.LevelWarn, Subject: "slow"})
	fmt.Println(errors.Is(err, notify.ErrNoReceiver))
	// Output: true
}

// During maintenance nobody wants to hear of what is expected.
func ExampleHub_Silence() {
	var ops notifytest.Recorder
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	end := hub.Silence(func(m notify.Message) bool { return m.Subject == "disk full" }, time.Hour)
	_ = hub.Send(context.Background(), "disk full", "db1")
	_ = hub.Send(context.Background(), "no network", "db1")
	end()
	_ = hub.Send(context.Background(), "disk full", "db2")
	for _, m := range ops.Messages() {
		fmt.Println(m.Subject, m.Text)
	}
	// Output:
	// no network db1
	// disk full db2
}

type notifierFunc func(ctx context.Context, subject, message string) error

func (f notifierFunc) Send(ctx context.Context, subject, message string) error {
	return f(ctx, subject, message)
}
