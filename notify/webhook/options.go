package webhook

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/notify/internal/post"
)

// Options are the settings of a [Client]. New copies them. The HTTPClient is set
// in code; everything else can be loaded from a file.
type Options struct {
	// URL is where messages go, a secret as a whole: with many services who has
	// the address can post. It begins with https://, or with http:// to this
	// machine. Required.
	URL secret.Secret `doc:"address that messages are posted to"`
	// Body is the template of the body, see the package's text. Required.
	Body string `doc:"template of the body, a text/template over the message"`
	// Values are the secrets that Body writes by {{json (secret "name")}}.
	Values map[string]secret.Secret `doc:"secrets that the template of the body names"`
	// Headers are headers of each request. Their values are secrets, as that of
	// Authorization is.
	Headers map[string]secret.Secret `doc:"headers of each request"`
	// Method is POST or PUT. Defaults to POST.
	Method string `doc:"method of the request" default:"POST" oneof:"POST|PUT" zero:"default"`
	// ContentType is the type of the body. If it names JSON, the body must be
	// JSON. Defaults to application/json.
	ContentType string `doc:"type of the body" default:"application/json" zero:"default"`
	// Expect is a text that the answer to a message must hold, for services that
	// say 200 to everything. Defaults to none.
	Expect string `doc:"text that the answer to a message must hold"`
	// Rate is the time in which one message goes out in the long run. Defaults
	// to no limit.
	Rate time.Duration `doc:"time in which one message goes out in the long run; 0 is no limit" min:"0s"`
	// Burst is the number of messages that may go out at once. Defaults to 4.
	Burst int `doc:"messages that may go out at once" default:"4" min:"1" zero:"default"`
	// Timeout bounds one call whose ctx ends later. Defaults to 15s; negative
	// means no bound.
	Timeout time.Duration `doc:"bound of one call; negative is none" default:"15s" zero:"default"`
	// AllowPlainHTTP takes an http:// address off this machine, although what is
	// secret then goes in plain text: for a service in a network of your own.
	AllowPlainHTTP bool `doc:"take an http:// address, which shows secrets on the way"`
	// HTTPClient makes the requests. Its CheckRedirect is replaced: redirects
	// are errors. Defaults to one with the default transport.
	HTTPClient *http.Client `koanf:"-"`
}

// Validate returns every mistake in what is set, each by its field.
func (o Options) Validate() error {
	wrong := o.mistakes()
	return wrong.Err("webhook: options")
}

func (o Options) mistakes() options.Mistakes {
	wrong := options.Check(o)
	if !o.URL.IsZero() {
		if _, err := post.Address(o.URL, o.AllowPlainHTTP); err != nil {
			wrong.Add("URL", "%s", err)
		}
	}

	for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
		value := o.Headers[name].Reveal()
		switch {
		case !token(name):
			wrong.Add("Headers", "%q is not the name of a header", name)
		case strings.EqualFold(name, "Content-Type"):
			wrong.Add("Headers", "%s is set by ContentType", name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			wrong.Add("Headers", "the value of %s has control characters, often a line end from a file", name)
		}
	}

	if o.Body != "" {
		if _, err := newBody(&o); err != nil {
			wrong.Add("Body", "%s", err)
		}
	}

	return wrong
}

// token reports whether s is a token (RFC 9110 §5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
