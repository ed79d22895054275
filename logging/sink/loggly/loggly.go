// Package loggly ships log lines to Loggly's bulk endpoint.
//
//	sink, err := loggly.New(&loggly.Options{Token: token, Tags: []string{"prod", "shop"}})
//
// Loggly takes 5 MB in one request and 1 MB in one event. A longer event is
// quarantined. Loggly has no use for an event's ID unless Options.IDField adds
// it to the event; then a repeat can be told in a search.
package loggly

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. Token is required.
type Options struct {
	// HTTP says how requests are made.
	sink.HTTP `koanf:",squash"`
	// DisableGzip sends the lines uncompressed.
	DisableGzip bool `doc:"send uncompressed"`
	// IDField is the key under which each object carries its event's ID.
	// Empty: none does.
	IDField string `doc:"key of the event's ID; empty: none"`
	// Tags are put on every event: letters, digits, "-", "_" and ".".
	Tags []string `doc:"tags on each event"`
	// Token is the customer token.
	Token secret.Secret `doc:"customer token"`
	// URL is the endpoint's origin. Defaults to "https://logs-01.loggly.com".
	URL string `default:"https://logs-01.loggly.com" zero:"default" doc:"origin of the endpoint"`
}

// Validate reports every mistake by its field, as New does. Options without a
// Token are those of a sink that is not used, and have none.
func (o Options) Validate() error {
	if o.Token.IsZero() {
		return nil
	}
	_, err := New(&o)
	return err
}

// The limits of the bulk endpoint: 5 MB a batch, 1 MB an event.
const (
	maxBatchBytes = 5_000_000
	maxEventBytes = 1_000_000
)

// Sink sends to Loggly. Its methods are safe for concurrent use.
type Sink struct {
	post    *post.Poster
	url     *url.URL
	idField string
}

// New returns a Sink. All bad options are reported at once.
func New(opts *Options) (*Sink, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	options.Fill(&o)

	wrong := options.Check(o)
	switch token := o.Token.Reveal(); {
	case token == "":
		wrong.Add("Token", "is missing: give the customer token")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == '/' || r >= 0x7f }):
		wrong.Add("Token", "holds a space, a slash or a character that is not ASCII: give the customer token alone")
	}

	for i, t := range o.Tags {
		if t == "" || strings.ContainsFunc(t, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r))
		}) {
			wrong.Add(fmt.Sprintf("Tags[%d]", i), `%q is not made of letters, digits, "-", "_" and "."`, t)
		}
	}

	p, bad := post.New("loggly", post.Options{
		HTTP: o.HTTP, URL: o.URL, Gzip: !o.DisableGzip,
		Header: http.Header{"Content-Type": {"text/plain"}}, Secrets: []secret.Secret{o.Token},
	})
	wrong = append(wrong, bad...)
	if err := wrong.Err("loggly: new"); err != nil {
		return nil, err
	}

	path := []string{"bulk", o.Token.Reveal()}
	if len(o.Tags) > 0 {
		path = append(path, "tag", strings.Join(o.Tags, ","))
	}
	u := p.URL().JoinPath(path...)
	u.Path += "/"

	return &Sink{
		post:    p,
		url:     u,
		idField: o.IDField,
	}, nil
}

// Limits returns Loggly's: 5 MB a batch, 1 MB an event.
func (s *Sink) Limits() logging.Limits {
	l := logging.Limits{MaxBatchBytes: maxBatchBytes, MaxEventBytes: maxEventBytes, Overhead: 42}
	if s.idField != "" {
		l.Overhead += len(s.idField) + 44
	}
	l.MaxEventBytes -= l.Overhead
	return l
}

// Send posts b. Loggly confirms with {"response" : "ok"}; a 200 without that,
// as a proxy may give, counts as an outage.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	body := post.Body{MaxEventBytes: maxEventBytes + 1, MaxBatchBytes: maxBatchBytes}
	for i, e := range b.Events {
		from := len(body.Bytes)
		body.Bytes = append(appendEvent(body.Bytes, e, s.idField), '\n')
		body.Keep(i, from)
	}

	if err := body.Check(s.post, s.url); err != nil {
		return err
	}
	answer, err := s.post.Post(ctx, s.url, body.Bytes)
	if err != nil {
		return err
	}

	var said struct {
		Response string `json:"response"`
	}
	if err := json.Unmarshal(answer.Body, &said); err != nil || said.Response != "ok" {
		return s.post.Fail(logging.KindRetry, s.url, `the answer is not {"response" : "ok"}`)
	}

	return body.Left(s.post, s.url)
}

// appendEvent appends e with its time under the key that Loggly reads.
func appendEvent(b []byte, e logging.Event, idField string) []byte {
	if post.HasMember(e, "timestamp") {
		return post.AppendObject(b, e, idField)
	}
	b = append(b, `{"timestamp":"`...)
	b = append(post.Time(e).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00"), '"')
	from := len(b)
	b = post.AppendObject(b, e, idField)
	if b[from+1] == '}' { // an empty object
		return append(b[:from], '}')
	}
	b[from] = ','
	return b
}
