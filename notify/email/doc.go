// Package email sends messages as mail through an SMTP server.
//
//	mail, err := email.New(&email.Options{
//		Host: "mail.example.com", Username: "shop", Password: password,
//		From: "Shop <shop@example.com>", To: []string{"ops@example.com"},
//	})
//	…
//	defer mail.Close()
//	err = mail.Send(ctx, "price changed", "Tea costs 4.20 now.")
//
// The connection is private or there is none: STARTTLS is mandatory unless
// [Options].TLS says otherwise, and the password never leaves before. Every
// call ends as soon as its ctx does, whatever the server does. Connections are
// kept for the next mail, and the envelope goes in one write where the server
// allows it.
//
// Each recipient has a result of its own: a bad one does not keep the mail from
// the others. Recipients in Bcc stand in no header. Nothing in a message can
// add a header or a recipient.
//
// It builds mails with github.com/wneessen/go-mail and uses its dialogue for
// STARTTLS and AUTH; the transport is its own.
package email
