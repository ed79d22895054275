package slack_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/slack"
)

func ExampleWebhook() {
	server := notifytest.StartSlack(nil) // stands for hooks.slack.com
	defer server.Close()

	ops, err := slack.NewWebhook(secret.New(server.WebhookURL()), &slack.Options{Mention: "here", MentionLevel: new(slog.LevelError)})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ops.Send(context.Background(), "price changed", "Tea costs 4.20 now."); err != nil {
		fmt.Println(err)
	}
	fmt.Println(server.Messages()[0].Text)
	// Output:
	// <!here> price changed
	// Tea costs 4.20 now.
}

// A bot brings the first message up to date when the Hub tells of repeats.
func ExampleBot() {
	server := notifytest.StartSlack(nil)
	defer server.Close()

	bot, err := slack.NewBot(secret.New(server.Token()), "#ops", &slack.Options{BaseURL: server.APIURL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := bot.Check(ctx); err != nil {
		fmt.Println(err)
	}
	_ = bot.Notify(ctx, notify.Message{ID: "m1", Subject: "disk full"})
	_ = bot.Notify(ctx, notify.Message{ID: "m2", Subject: "disk full", Count: 9, Thread: "m1"})
	for _, m := range server.Messages() {
		fmt.Println(m.Text, m.Updates)
	}
	// Output: disk full (×9) 1
}
