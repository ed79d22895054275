package notify_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/slack"
)

// One program sends by mail and to Slack. What follows the two servers is all that
// it takes: 22 lines with package, imports and main.
func ExampleTo() {
	server, err := notifytest.StartSMTP(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	workspace := notifytest.StartSlack(nil)
	defer workspace.Close()

	mail, mailErr := email.New(&email.Options{Host: server.Host(), Port: server.Port(), TLSConfig: server.TLSConfig(), From: "shop@example.com", To: []string{"ops@example.com"}})
	chat, chatErr := slack.NewWebhook(secret.New(workspace.WebhookURL()), nil)
	hub, hubErr := notify.To(mail, chat)
	if err := errors.Join(mailErr, chatErr, hubErr); err != nil {
		fmt.Println(err)
		return
	}
	if err := hub.Send(context.Background(), "price changed", "Tea costs 4.20 now."); err != nil {
		fmt.Println(err)
	}

	for _, r := range hub.Stats().Receivers {
		fmt.Println(r.Name, r.Sent)
	}
	fmt.Println(len(server.Mails()), len(workspace.Messages()))
	_, err = notify.To(chat, chat, nil)
	fmt.Println(err)
	_, _ = hub.Close(), mail.Close()
	// Output:
	// email 1
	// slack 1
	// 1 1
	// notify: new: Receivers[2].Notifier: is nil: give what sends for "<nil>"
}
