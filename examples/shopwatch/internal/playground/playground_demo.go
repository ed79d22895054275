//go:build !nodemo

package playground

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

// Playground is the demo parts, running.
type Playground struct{ world *demo.World }

// Start starts all demo parts on loopback ports that the kernel picks.
func Start(ctx context.Context, logger *slog.Logger) (*Playground, error) {
	world, err := demo.Start(ctx, &demo.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	return &Playground{world}, nil
}

// Addresses tells where the parts are.
func (p *Playground) Addresses() (Addresses, error) {
	host, port, err := net.SplitHostPort(p.world.Mail.Addr())
	if err != nil {
		return Addresses{}, fmt.Errorf("playground: mail catcher: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return Addresses{}, fmt.Errorf("playground: mail catcher: %w", err)
	}
	return Addresses{
		Site: p.world.Shop.URL(), Logs: p.world.Logs.URL(), MailHost: host, MailPort: n,
		Slack: secret.New(p.world.Slack.URL()),
	}, nil
}

// Seen tells what the receivers got, the newest first.
func (p *Playground) Seen() Seen {
	stats := p.world.Logs.Stats()
	seen := Seen{Received: &web.Received{Batches: stats.Batches, Events: stats.Events, Repeats: stats.Repeats}}
	for _, e := range p.world.Logs.Last() {
		seen.Received.Last = append(seen.Received.Last, web.Line{Time: e.Time, Level: e.Level, Message: e.Message, Detail: e.Attrs})
	}

	for _, m := range p.world.Mail.Last() {
		seen.Caught = append(seen.Caught, web.Caught{
			Kind: web.Mail, ID: "mail-" + strconv.FormatInt(m.Number, 10), Time: m.Arrived, From: m.From,
			To: strings.Join(m.Recipients, ", "), Subject: m.Subject, Text: m.Text,
		})
	}

	for _, m := range p.world.Slack.Last() {
		seen.Caught = append(seen.Caught, web.Caught{
			Kind: web.Slack, ID: "slack-" + strconv.FormatInt(m.Number, 10), Time: m.Arrived, To: m.Channel, Subject: m.Title, Text: m.Text,
		})
	}

	slices.SortStableFunc(seen.Caught, func(a, b web.Caught) int {
		return cmp.Or(b.Time.Compare(a.Time), strings.Compare(a.ID, b.ID))
	})
	return seen
}

// Close ends the parts.
func (p *Playground) Close() error { return p.world.Close() }
