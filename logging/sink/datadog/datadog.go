// Package datadog ships log lines to Datadog's log intake, version 2.
//
//	sink, err := datadog.New(&datadog.Options{APIKey: key, Site: "datadoghq.eu", Service: "shop"})
//
// Each line goes as the message of an entry; Datadog reads the JSON in it. An
// entry of more than 1 MB, which Datadog would cut short and still confirm, is
// quarantined. Datadog drops entries that are older than 18 hours.
package datadog

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. APIKey is required.
type Options struct {
	// APIKey is sent as DD-API-KEY.
	APIKey secret.Secret `doc:"API key"`
	// HTTP says how requests are made.
	sink.HTTP `koanf:",squash"`
	// DisableGzip sends the lines uncompressed.
	DisableGzip bool `doc:"send uncompressed"`
	// DisableID leaves out the attribute "event_id".
	DisableID bool `doc:"leave event_id out"`
	// Hostname, Service and Source are put on each entry. Source defaults to
	// "go".
	Hostname string `doc:"host on each entry; empty: none"`
	Service  string `doc:"service on each entry; empty: none"`
	Source   string `default:"go" zero:"default" doc:"source on each entry"`
	// Site is Datadog's site. Defaults to "datadoghq.com". Unused with URL.
	Site string `default:"datadoghq.com" zero:"default" doc:"Datadog's site, unused with url"`
	// Tags are put on each entry, such as "env:prod".
	Tags []string `doc:"tags on each entry, such as env:prod"`
	// URL is the intake's address, to which /api/v2/logs is added. Defaults
	// to that of Site.
	URL string `doc:"address of the intake; empty: that of site"`
}

// Validate reports every mistake by its field, as New does. Options without an
// APIKey are those of a sink that is not used, and have none.
func (o Options) Validate() error {
	if o.APIKey.IsZero() {
		return nil
	}
	_, err := New(&o)
	return err
}

// The intake takes 5 MB uncompressed, 1000 entries, and 1 MB an entry.
const (
	maxBatchBytes  = 5_000_000
	maxBatchEvents = 1000
	maxEntryBytes  = 1_000_000
)

// Sink sends to Datadog. Its methods are safe for concurrent use.
type Sink struct {
	post *post.Poster
	url  *url.URL
	meta string // members before the message
	id   bool
}

// New returns a Sink. All bad options are reported at once.
func New(opts *Options) (*Sink, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	options.Fill(&o)
	wrong := options.Check(o)
	if o.URL == "" {
		o.URL = "https://http-intake.logs." + o.Site
	}

	header := http.Header{"Content-Type": {"application/json"}, "Dd-Api-Key": {o.APIKey.Reveal()}}
	p, bad := post.New("datadog", post.Options{HTTP: o.HTTP, URL: o.URL, Header: header, Gzip: !o.DisableGzip, Secrets: []secret.Secret{o.APIKey}})
	post.Token(&wrong, "APIKey", o.APIKey, false)

	for i, t := range o.Tags {
		if t == "" || strings.Contains(t, ",") {
			wrong.Add(fmt.Sprintf("Tags[%d]", i), "%q is empty or holds a comma: give one tag, such as env:prod", t)
		}
	}

	wrong = append(wrong, bad...)
	if err := wrong.Err("datadog: new"); err != nil {
		return nil, err
	}

	var meta []byte
	for _, m := range []struct{ key, value string }{{"ddsource", o.Source}, {"ddtags", strings.Join(o.Tags, ",")}, {"hostname", o.Hostname}, {"service", o.Service}} {
		if m.value != "" {
			meta = append(jsontext.AppendString(meta, m.key), ':')
			meta = append(jsontext.AppendString(meta, m.value), ',')
		}
	}

	return &Sink{
		post: p,
		url:  p.URL().JoinPath("api/v2/logs"),
		meta: string(meta),
		id:   !o.DisableID,
	}, nil
}

// Limits returns Datadog's: 5 MB a batch, 1000 entries, 1 MB an entry.
func (s *Sink) Limits() logging.Limits {
	return logging.Limits{MaxBatchBytes: maxBatchBytes, MaxBatchEvents: maxBatchEvents, MaxEventBytes: maxEntryBytes, Overhead: len(s.meta) + 140}
}

// Send posts b. The quotes of a line take two bytes in an entry, so a batch may
// turn out too large; then it is halved before anything is sent. An entry that
// turns out too large is refused, and the others are sent.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	body := post.Body{Bytes: []byte{'['}, MaxEventBytes: maxEntryBytes, MaxBatchBytes: maxBatchBytes}
	for i, e := range b.Events {
		from := len(body.Bytes)
		if from > 1 {
			body.Bytes = append(body.Bytes, ',')
		}
		body.Bytes = s.appendEntry(body.Bytes, e)
		body.Keep(i, from)
	}

	body.Bytes = append(body.Bytes, ']')
	if err := body.Check(s.post, s.url); err != nil {
		return err
	}
	if _, err := s.post.Post(ctx, s.url, body.Bytes); err != nil {
		return err
	}
	return body.Left(s.post, s.url)
}

func (s *Sink) appendEntry(b []byte, e logging.Event) []byte {
	b = append(append(b, '{'), s.meta...)
	if s.id {
		b = append(b, `"event_id":`...)
		b = append(jsontext.AppendString(b, e.ID), ',')
	}
	// Without a time of its own an entry gets that of its delivery.
	b = append(b, `"timestamp":`...)
	b = append(strconv.AppendInt(b, post.Time(e).UnixMilli(), 10), ',')
	b = append(b, `"message":`...)
	return append(jsontext.AppendString(b, string(e.Line)), '}')
}
