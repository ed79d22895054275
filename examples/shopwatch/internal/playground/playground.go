// Package playground joins the demo parts to the service: it starts them where
// the settings ask for "demo", and shows on the status page what they got.
//
// A binary for production is built with the tag nodemo and holds none of it.
package playground

import (
	"errors"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

// ErrLeftOut says that the settings ask for demo parts and the binary has none.
var ErrLeftOut = errors.New("this binary was built without the demo parts (tag nodemo): " +
	"set site.url, ship.url, mail.host and slack.webhook to real addresses, or leave the last three empty")

// Addresses are where the demo parts are reached.
type Addresses struct {
	Site     string        // first page of the shop
	Logs     string        // where log lines are posted
	MailHost string        // SMTP without TLS
	MailPort int           // its port
	Slack    secret.Secret // webhook
}

// Seen is what the demo receivers got.
type Seen struct {
	Caught   []web.Caught
	Received *web.Received
}
