package email_test

import (
	"bytes"
	"context"
	"fmt"
	"net/mail"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

func Example() {
	server, err := notifytest.StartSMTP(nil) // stands for mail.example.com
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	client, err := email.New(&email.Options{
		Host: server.Host(), Port: server.Port(), TLSConfig: server.TLSConfig(),
		From: "Shop <shop@example.com>", To: []string{"ops@example.com"}, Bcc: []string{"archive@example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	ctx := context.Background()
	if err := client.Check(ctx); err != nil { // proves TLS and the login
		fmt.Println(err)
	}
	if err := client.Send(ctx, "price changed", "Tea costs 4.20 now."); err != nil {
		fmt.Println(err)
	}
	for _, m := range server.Mails() {
		fmt.Println(m.To, m.TLS)
	}
	// Output: [ops@example.com archive@example.com] true
}

// Preview shows the mail without a server.
func ExampleClient_Preview() {
	client, err := email.New(&email.Options{
		Host: "mail.example.com", TLS: email.Implicit, From: "shop@example.com", To: []string{"ops@example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	preview, err := client.Preview(notify.Message{ID: "m1", Subject: "price changed", Text: "Tea costs 4.20 now."})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, content, _ := bytes.Cut(preview, []byte("\r\n\r\n")) // the envelope comes first
	m, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Header.Get("Subject"), m.Header.Get("Message-ID"))
	// Output: price changed <m1@example.com>
}

// A TLSMode is written as a word in settings.
func ExampleTLSMode() {
	var mode email.TLSMode
	fmt.Println(mode)
	if err := mode.UnmarshalText([]byte("implicit")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(mode, mode == email.Implicit)
	// Output:
	// mandatory
	// implicit true
}
