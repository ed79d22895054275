// Package notify sends messages to the operators of a service: by mail, to
// Slack, to anything with a Send method. They arrive, once, and never flood.
//
//	func main() {
//		mail, mailErr := email.New(&email.Options{Host: "mail.example.com", From: "shop@example.com", To: []string{"ops@example.com"}})
//		chat, chatErr := slack.NewWebhook(secret.New(os.Getenv("SLACK_WEBHOOK")), nil)
//		hub, hubErr := notify.To(mail, chat)
//		if err := errors.Join(mailErr, chatErr, hubErr); err != nil {
//			log.Fatal(err)
//		}
//		if err := hub.Send(context.Background(), "price changed", "Tea costs 4.20 now."); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// A service says more, and keeps what waits on disk:
//
//	hub, err := notify.New(&notify.Options{
//		Receivers: []notify.Receiver{{Name: "ops-mail", Notifier: mail, MinLevel: slog.LevelWarn}},
//		Outbox:    notify.Outbox{Dir: "/var/lib/shop/outbox"},
//	})
//	…
//	defer hub.Close()
//	err = hub.Send(ctx, "price changed", "Tea costs 4.20 now.")
//
// Most readers want [To] or [New], [Hub.Notify] and [NewHandler]. The receivers are in
// notify/email and notify/slack; the services of github.com/nikoksr/notify are
// receivers as they are, and so is every other [Notifier]. notify/notifytest
// has receivers for tests.
//
// # What is promised
//
// A hub works from [New] to [Hub.Close]; [Hub.Run] only ties that to a context.
// Without an outbox [Hub.Notify] returns when every receiver is done. With one it
// returns when the message is on disk, which is all that the outbox changes.
// Delivery is at least once: what was under way when the process died goes out
// again, with the same [Message].ID.
//
// A failure that may pass is tried again with growing waits, and a receiver's
// own Retry-After wins. One that cannot pass is reported at once, or another
// receiver takes over. The trouble of one receiver does not delay another: not
// a slow one, not one that hangs, panics, or asks for a pause.
//
// Everyone concerned is told, and the end reaches whoever heard the start: see
// [Group]. What repeats, flaps, or comes with each start of a service that
// crashes is one message per interval; what is still too much is one summary per
// minute, see [Rate]. Memory and goroutines are bounded in any storm.
//
// What is lost or stuck is told by [Hub.Check], [Options].OnError and Logger
// alike, see [Options].StuckAfter.
//
// Errors say which receiver or recipient failed and why, see [Errors]. Secrets
// stay out of errors, logs, messages, journals and dry runs.
//
// # What is not here
//
// Templates for HTML (html/template alone is 2 MB), schedules for who is on
// duty, inbound mail, and delivery exactly once, which no mail server and no
// chat offers.
//
// # On Windows
//
//   - The modes of the outbox's files are without effect: the access list of the folder says who may read.
//   - Owners and write bits are not checked: choose a folder of this account alone.
//   - Links need a right that most accounts have not; one in the place of a file is refused.
//   - There is no SIGTERM, only Ctrl-C: what a killed process left is sent by the next.
package notify
