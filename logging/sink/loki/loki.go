// Package loki ships log lines to Grafana Loki, or to what takes its push
// format.
//
//	sink, err := loki.New(&loki.Options{URL: "https://loki.example.com", Labels: map[string]string{"service": "shop"}})
//
// Each line goes as it stands into a stream with the labels of the Options and
// its level. Loki drops a line that it has already, with the same time and
// labels, so repeats are harmless. With Options.IDField the event's ID goes
// along as structured metadata.
package loki

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. URL and Labels are required.
type Options struct {
	// HTTP says how requests are made.
	sink.HTTP `koanf:",squash"`
	// DisableGzip sends the lines uncompressed.
	DisableGzip bool `doc:"send uncompressed"`
	// DisableLevel leaves out the label "level".
	DisableLevel bool `doc:"leave the label level out"`
	// IDField is the key of structured metadata that carries the event's ID.
	// Empty: none does.
	IDField string `doc:"metadata key of the event's ID; empty: none"`
	// Labels are put on each stream: at least one, and few, as each set of
	// values makes a stream.
	Labels map[string]string `doc:"labels of each stream, at least one"`
	// Password goes with Username.
	Password secret.Secret `doc:"password of username"`
	// Tenant is sent as X-Scope-OrgID. Empty: not sent.
	Tenant string `doc:"X-Scope-OrgID; empty: none"`
	// Token is sent as "Authorization: Bearer <token>". Empty: not sent.
	Token secret.Secret `doc:"bearer token; empty: none"`
	// URL is Loki's address, to which /loki/api/v1/push is added.
	URL string `doc:"Loki's address, without /loki/api/v1/push"`
	// Username is for basic authentication. Empty: none.
	Username string `doc:"user of basic authentication; empty: none"`
}

// Validate reports every mistake by its field, as New does. Options without a
// URL are those of a sink that is not used, and have none.
func (o Options) Validate() error {
	if o.URL == "" {
		return nil
	}
	_, err := New(&o)
	return err
}

// Loki's defaults (limits_config): line 256 KB, 15 label names, 2048 bytes a
// label value. A batch stays below the 4 MB that its servers take from each
// other.
const (
	maxLineBytes  = 256 << 10
	maxBatchBytes = 3_000_000
	maxLabels     = 15
	maxValueBytes = 2048
)

// Sink sends to Loki. Its methods are safe for concurrent use.
type Sink struct {
	post    *post.Poster
	url     *url.URL
	labels  string // JSON members
	level   bool
	idField string
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// New returns a Sink. All bad options are reported at once.
func New(opts *Options) (*Sink, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	options.Fill(&o)
	wrong := options.Check(o)
	header := http.Header{"Content-Type": {"application/json"}}

	post.Token(&wrong, "Token", o.Token, true)
	post.Basic(&wrong, header, o.Username, o.Password)

	count := len(o.Labels)
	if !o.DisableLevel {
		count++
	}
	if len(o.Labels) == 0 {
		wrong.Add("Labels", `is missing: Loki asks for at least one, such as {"service": "shop"}`)
	}
	if count > maxLabels {
		wrong.Add("Labels", "%d with the level are more than the %d that Loki takes: give fewer", count, maxLabels)
	}

	var labels []byte
	for i, name := range slices.Sorted(maps.Keys(o.Labels)) {
		value, field := o.Labels[name], fmt.Sprintf("Labels[%q]", name)
		switch {
		case !labelName.MatchString(name):
			wrong.Add(field, "is no label name: use letters, digits and _")
		case name == "level" && !o.DisableLevel:
			wrong.Add(field, "is set for each line: set DisableLevel to set it yourself")
		case value == "" || len(value) > maxValueBytes:
			wrong.Add(field, "has %d bytes: give 1 to %d", len(value), maxValueBytes)
		}
		if i > 0 {
			labels = append(labels, ',')
		}
		labels = append(jsontext.AppendString(labels, name), ':')
		labels = jsontext.AppendString(labels, value)
	}

	if !o.Token.IsZero() && o.Username != "" {
		wrong.Add("Token", "is set, and Username too: use one")
	}
	if !o.Token.IsZero() {
		header.Set("Authorization", "Bearer "+o.Token.Reveal())
	}
	if o.Tenant != "" {
		header.Set("X-Scope-OrgID", o.Tenant)
	}

	p, bad := post.New("loki", post.Options{HTTP: o.HTTP, URL: o.URL, Header: header, Gzip: !o.DisableGzip, Secrets: []secret.Secret{o.Token, o.Password}})
	wrong = append(wrong, bad...)
	if err := wrong.Err("loki: new"); err != nil {
		return nil, err
	}

	return &Sink{
		post:    p,
		url:     p.URL().JoinPath("loki/api/v1/push"),
		labels:  string(labels),
		level:   !o.DisableLevel,
		idField: o.IDField,
	}, nil
}

// Limits returns Loki's defaults: lines of 256 KB; and 3 MB a batch.
func (s *Sink) Limits() logging.Limits {
	return logging.Limits{MaxBatchBytes: maxBatchBytes, MaxEventBytes: maxLineBytes, Overhead: 64}
}

// Send pushes b, one stream per level. Loki takes the good lines of a batch
// and answers 400 for the rest; the batch is then bisected, and it drops those
// that come again.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	var order []string
	streams := map[string][]byte{}
	for _, e := range b.Events {
		level := ""
		if s.level {
			level = levelOf(e)
		}

		values, ok := streams[level]
		if !ok {
			order = append(order, level)
		} else {
			values = append(values, ',')
		}

		values = append(values, '[', '"')
		values = strconv.AppendInt(values, post.Time(e).UnixNano(), 10)
		values = append(values, '"', ',')
		values = jsontext.AppendString(values, string(e.Line))
		if s.idField != "" {
			values = append(jsontext.AppendString(append(values, ',', '{'), s.idField), ':')
			values = append(jsontext.AppendString(values, e.ID), '}')
		}

		streams[level] = append(values, ']')
	}

	body := []byte(`{"streams":[`)
	for i, level := range order {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(body, `{"stream":{`...), s.labels...)
		if level != "" {
			body = append(body, `,"level":`...)
			body = jsontext.AppendString(body, level)
		}
		body = append(append(body, `},"values":[`...), streams[level]...)
		body = append(body, ']', '}')
	}

	body = append(body, ']', '}')
	_, err := s.post.Post(ctx, s.url, body)
	return err
}

// levelOf returns the level's name in lower case without an offset, as few
// values make few streams.
func levelOf(e logging.Event) string {
	level := strings.ToLower(post.Level(e))
	if i := strings.IndexAny(level, "+-"); i > 0 {
		level = level[:i]
	}
	if post.Severity(level) == 0 {
		return "unknown"
	}
	return level
}
