package slack

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Options are the settings of a [Webhook] or [Bot]. New copies them. The zero
// value and nil are good defaults. Functions, the HTTPClient and the Logger are
// set in code; everything else can be loaded from a file.
type Options struct {
	// BaseURL is the address of the Web API, for a [Bot]. Defaults to
	// https://slack.com/api.
	BaseURL string
	// Mention is put in front of messages of MentionLevel and above, and is
	// the only text that can notify somebody: "channel", "here", the ID of a
	// user as "U012AB3CD" or of a user group as "S012AB3CD". Several are
	// separated by commas. Defaults to none.
	Mention string
	// MentionLevel is the lowest level that gets Mention. Defaults to
	// [slog.LevelError].
	MentionLevel *slog.Level `doc:"lowest level that gets the mention; ERROR if not set"`
	// Rate is the time in which one message goes out in the long run. Slack
	// documents one per second and channel. Defaults to 1s; negative means no
	// limit.
	Rate time.Duration
	// Burst is the number of messages that may go out at once. Defaults to 4.
	Burst int `min:"0"`
	// Timeout bounds one call whose ctx ends later. Defaults to 15s; negative
	// means no bound.
	Timeout time.Duration
	// NoEdit makes a [Bot] answer in the thread of a group's first message, in
	// place of bringing that message up to date.
	NoEdit bool
	// HTTPClient makes the requests. Its CheckRedirect is replaced: redirects
	// are errors. Defaults to one with the default transport.
	HTTPClient *http.Client `koanf:"-"`
	// Logger gets the receiver's own events. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// settings are Options that were checked.
type settings struct {
	Options
	mention      string
	mentionLevel slog.Level
	client       *http.Client
}

func (o *Options) withDefaults(bad func(string, ...any)) settings {
	var s settings
	if o != nil {
		s.Options = *o
	}
	if s.BaseURL == "" {
		s.BaseURL = "https://slack.com/api"
	}
	if !validURL(s.BaseURL) {
		bad("BaseURL is not an http or https address")
	}
	s.BaseURL = strings.TrimSuffix(s.BaseURL, "/")
	if s.Burst < 0 {
		bad("Burst is %d: use 0 for 4, or a positive number", s.Burst)
	}
	if s.Burst == 0 {
		s.Burst = 4
	}
	if s.Rate == 0 {
		s.Rate = time.Second
	}
	if s.Timeout == 0 {
		s.Timeout = 15 * time.Second
	}
	s.mentionLevel = slog.LevelError
	if s.MentionLevel != nil {
		s.mentionLevel = *s.MentionLevel
	}
	var err error
	if s.mention, err = mentions(s.Mention); err != nil {
		bad("Mention: %v", err)
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.Logger = s.Logger.With("component", "notify/slack")
	var client http.Client
	if s.HTTPClient != nil {
		client = *s.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.client = &client
	return s
}

// mentions renders the option in Slack's form.
func mentions(option string) (string, error) {
	var out []string
	for m := range strings.SplitSeq(option, ",") {
		m = strings.TrimSpace(m)
		switch {
		case m == "":
		case m == "channel" || m == "here" || m == "everyone":
			out = append(out, "<!"+m+">")
		case isID(m, 'U') || isID(m, 'W'):
			out = append(out, "<@"+m+">")
		case isID(m, 'S'):
			out = append(out, "<!subteam^"+m+">")
		default:
			return "", fmt.Errorf("%q is neither channel, here, everyone nor an ID as U012AB3CD or S012AB3CD", m)
		}
	}
	return strings.Join(out, " "), nil
}

func isID(s string, kind byte) bool {
	if len(s) < 3 || len(s) > 32 || s[0] != kind {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

func validURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// checkWebhook says what is wrong with a webhook's address without showing it.
func checkWebhook(address secret.Secret) error {
	switch {
	case address.IsZero():
		return errors.New("webhook address is empty")
	case !validURL(address.Reveal()):
		return errors.New("webhook address is not an http or https address without userinfo (its value is not shown, as it is a secret)")
	}
	return nil
}
