package settings

import (
	"cmp"
	"net/url"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/playground"
	"github.com/svcblocks/svcblocks/notify/email"
)

// UsesDemo reports whether any part that comes along is asked for.
func (s Settings) UsesDemo() bool {
	return s.Site.URL == Demo || s.Ship.URL == Demo || s.Mail.Host == Demo || s.Slack.Webhook.Reveal() == Demo
}

// WithDemo returns s with the addresses of the parts that come along in place
// of "demo".
func (s Settings) WithDemo(a playground.Addresses) Settings {
	if s.Site.URL == Demo {
		s.Site.URL, s.Site.Name = a.Site, cmp.Or(s.Site.Name, "Leaf & Bean")
	}
	if s.Ship.URL == Demo {
		s.Ship.URL = a.Logs
	}
	if s.Mail.Host == Demo {
		s.Mail.Host, s.Mail.Port, s.Mail.TLS = a.MailHost, a.MailPort, email.None
	}
	if s.Slack.Webhook.Reveal() == Demo {
		s.Slack.Webhook = a.Slack
	}
	return s
}

// SiteName is what messages call the site.
func (s Settings) SiteName() string {
	host := s.Site.URL
	if u, err := url.Parse(s.Site.URL); err == nil {
		host = u.Host
	}
	return cmp.Or(s.Site.Name, host)
}
