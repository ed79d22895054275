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
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/notify/internal/post"
)

// Options are the settings of a [Webhook] or [Bot]. New copies them. The zero
// value and nil are good defaults. The HTTPClient and the Logger are set in code;
// everything else can be loaded from a file.
type Options struct {
	// BaseURL is the address of the Web API, for a [Bot]. Defaults to
	// https://slack.com/api.
	BaseURL string `doc:"address of the Web API" default:"https://slack.com/api" zero:"default"`
	// Mention is put in front of messages of MentionLevel and above, and is
	// the only text that can notify somebody: "channel", "here", the ID of a
	// user as "U012AB3CD" or of a user group as "S012AB3CD". Several are
	// separated by commas. Defaults to none.
	Mention string `doc:"whom serious messages mention: channel, here, everyone, or IDs, parted by commas"`
	// MentionLevel is the lowest level that gets Mention. Defaults to
	// [slog.LevelError].
	MentionLevel *slog.Level `doc:"lowest level that gets the mention; ERROR if not set"`
	// Rate is the time in which one message goes out in the long run. Slack
	// documents one per second and channel. Defaults to 1s; negative means no
	// limit.
	Rate time.Duration `doc:"time in which one message goes out in the long run; negative is no limit" default:"1s" zero:"default"`
	// Burst is the number of messages that may go out at once. Defaults to 4.
	Burst int `doc:"messages that may go out at once" default:"4" min:"1" zero:"default"`
	// Timeout bounds one call whose ctx ends later. Defaults to 15s; negative
	// means no bound.
	Timeout time.Duration `doc:"bound of one call; negative is none" default:"15s" zero:"default"`
	// NoEdit makes a [Bot] answer in the thread of a group's first message, in
	// place of bringing that message up to date.
	NoEdit bool `doc:"answer in the thread in place of editing the first message"`
	// AllowPlainHTTP takes an address that begins with http:// although the
	// secret then goes in plain text: for a Mattermost in a network of your own.
	// To this machine http:// is taken anyway.
	AllowPlainHTTP bool `doc:"take an http:// address, which shows the secret on the way"`
	// HTTPClient makes the requests. Its CheckRedirect is replaced: redirects
	// are errors. Defaults to one with the default transport.
	HTTPClient *http.Client `koanf:"-"`
	// Logger gets the receiver's own events. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// Validate returns every mistake in the options, each by its field.
func (o Options) Validate() error {
	wrong := o.mistakes()
	return wrong.Err("slack: options")
}

func (o Options) mistakes() options.Mistakes {
	wrong := options.Check(o)
	if _, err := mentions(o.Mention); err != nil {
		wrong.Add("Mention", "%s", err)
	}
	if o.BaseURL != "" {
		if _, err := post.Address(secret.New(o.BaseURL), o.AllowPlainHTTP); err != nil {
			wrong.Add("BaseURL", "%s", err)
		}
	}
	return wrong
}

// settings are Options that were checked.
type settings struct {
	Options
	mention      string
	mentionLevel slog.Level
}

// withDefaults returns settings with every default and what is written as text,
// and every mistake in them.
func (o *Options) withDefaults() (settings, options.Mistakes) {
	var s settings
	if o != nil {
		s.Options = *o
	}
	options.Fill(&s.Options)
	wrong := s.mistakes()

	s.BaseURL = strings.TrimSuffix(s.BaseURL, "/")
	s.mention, _ = mentions(s.Mention) // its error is among the mistakes
	s.mentionLevel = slog.LevelError
	if s.MentionLevel != nil {
		s.mentionLevel = *s.MentionLevel
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.Logger = s.Logger.With("component", "notify/slack")
	return s, wrong
}

// poster makes what sends the requests.
func (s *settings) poster(service string, secrets []secret.Secret) *post.Poster {
	return &post.Poster{
		Client: post.Client(s.HTTPClient), Timeout: s.Timeout, Limit: &post.Limiter{Per: s.Rate, Burst: s.Burst},
		Redactor: redact.New(secrets...), Service: service,
	}
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

// isSlack reports whether host is one of Slack's own. Others of the same shape
// show the text, not the blocks.
func isSlack(host string) bool {
	for _, domain := range []string{"slack.com", "slack-gov.com"} {
		if host == domain || strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}

// webhookAddress reads the address of an incoming webhook. The error says what
// is wrong without showing it.
func webhookAddress(address secret.Secret, plain bool) (*url.URL, error) {
	if strings.HasPrefix(address.Reveal(), "xox") {
		return nil, errors.New("is a token, not an address: use NewBot for it")
	}
	u, err := post.Address(address, plain)
	if err != nil {
		return nil, err
	}

	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	switch {
	case !isSlack(u.Hostname()):
		if u.Path == "" || u.Path == "/" {
			return nil, fmt.Errorf("has no path behind %s, which an incoming webhook has", u.Host)
		}
	case path[0] == "triggers" || path[0] == "workflows":
		return nil, errors.New("starts a workflow, which takes variables of its own and no message: use notify/webhook with a Body that names them")
	case !strings.HasPrefix(u.Host, "hooks."):
		return nil, fmt.Errorf("is a page of %s, not an incoming webhook, which begins with https://hooks.slack.com/services/", u.Host)
	case path[0] != "services" || len(path) != 4 || strings.Contains(u.Path, "//"):
		return nil, errors.New("is not that of an incoming webhook, as https://hooks.slack.com/services/T…/B…/…" + " (its value is not shown, as it is a secret)")
	}

	return u, nil
}

// checkToken says what is wrong with a bot's token without showing it.
func checkToken(token secret.Secret, base string) error {
	text := token.Reveal()
	u, err := url.Parse(base)
	switch {
	case text == "":
		return errors.New("is empty")
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("has white space or letters that no token has, often a line end from a file")
	case strings.Contains(text, "://"):
		return errors.New("is an address, not a token: use NewWebhook for it")
	case strings.HasPrefix(text, "xapp-"):
		return errors.New("is one of an app, which cannot post: a bot's begins with xoxb-")
	case err == nil && isSlack(u.Hostname()) && !strings.HasPrefix(text, "xox"):
		return errors.New("is not one of a bot, which begins with xoxb-")
	}

	return nil
}
