// Package splunk ships log lines to Splunk's HTTP Event Collector.
//
//	sink, err := splunk.New(&splunk.Options{URL: "https://splunk.example.com:8088", Token: token, Index: "shop"})
//
// Each line is the event, with its time; its ID goes along as the indexed field
// "event_id", so that a search can tell repeats (dedup event_id). The
// collector's 200 says that a batch looks valid, not that it is indexed.
package splunk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. URL and Token are required.
type Options struct {
	// Client makes the requests; redirects are not followed. Nil: a client of
	// its own.
	Client *http.Client
	// DisableGzip sends the lines uncompressed.
	DisableGzip bool
	// DisableID leaves out the field "event_id".
	DisableID bool
	// Host, Index, Source and SourceType are put on each event. Empty: those
	// of the token.
	Host, Index, Source, SourceType string
	// Timeout bounds a request. Defaults to 30s. Unused with Client.
	Timeout time.Duration
	// Token is the collector's token.
	Token secret.Secret
	// URL is the collector's address, to which /services/collector/event is
	// added.
	URL string
}

// A batch keeps to 2 MiB, what OpenTelemetry's exporter sends by default, and
// an event to 1 MB, Splunk's default max_content_length of former versions.
const (
	maxBatchBytes = 2 << 20
	maxEventBytes = 1_000_000
)

// Sink sends to a collector. Its methods are safe for concurrent use.
type Sink struct {
	post *post.Poster
	url  *url.URL
	meta string // members after the event
	id   bool
}

// New returns a Sink. All bad options are reported at once.
func New(opts *Options) (*Sink, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	u, err := post.CheckURL("URL", o.URL)
	timeout, terr := post.Timeout(o.Timeout)
	if err := errors.Join(err, terr, post.Token("Token", o.Token, false)); err != nil {
		return nil, fmt.Errorf("splunk: new: %w", err)
	}
	var meta []byte
	for _, m := range []struct{ key, value string }{{"host", o.Host}, {"index", o.Index}, {"source", o.Source}, {"sourcetype", o.SourceType}} {
		if m.value != "" {
			meta = append(post.AppendString(append(meta, ','), m.key), ':')
			meta = post.AppendString(meta, m.value)
		}
	}
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Splunk " + o.Token.Reveal()}}
	return &Sink{
		post: post.New("splunk", post.Options{Client: o.Client, Timeout: timeout, Header: header, Gzip: !o.DisableGzip, Secrets: []secret.Secret{o.Token}}),
		url:  u.JoinPath("services/collector/event"),
		meta: string(meta),
		id:   !o.DisableID,
	}, nil
}

// Limits returns 2 MiB a batch and 1 MB an event.
func (s *Sink) Limits() logging.Limits {
	return logging.Limits{MaxBatchBytes: maxBatchBytes, MaxEventBytes: maxEventBytes, Overhead: len(s.meta) + 120}
}

// Send posts b.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	batch := post.Body{MaxBatchBytes: maxBatchBytes}
	for i, e := range b.Events {
		from := len(batch.Bytes)
		batch.Bytes = s.appendEvent(batch.Bytes, e)
		batch.Keep(i, from)
	}
	if err := batch.Check(s.post, s.url); err != nil {
		return err
	}
	answer, err := s.post.Post(ctx, s.url, batch.Bytes)
	if err != nil {
		return s.classify(err)
	}
	var said struct {
		Code *int   `json:"code"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(answer.Body, &said); err != nil || said.Code == nil || *said.Code != 0 {
		return s.post.Fail(logging.KindRetry, s.url, "the answer is not code 0: "+said.Text)
	}
	return nil
}

// appendEvent appends e as the collector takes it.
func (s *Sink) appendEvent(body []byte, e logging.Event) []byte {
	t := post.Time(e)
	body = append(body, `{"time":`...)
	body = strconv.AppendInt(body, t.Unix(), 10)
	body = append(body, '.')
	micros := strconv.Itoa(1_000_000 + t.Nanosecond()/1000)
	body = append(body, micros[1:]...)
	body = append(body, `,"event":`...)
	if post.IsObject(e.Line) {
		body = append(body, e.Line...)
	} else {
		body = post.AppendString(body, string(e.Line))
	}
	if s.id {
		body = append(body, `,"fields":{"event_id":`...)
		body = append(post.AppendString(body, e.ID), '}')
	}
	return append(append(body, s.meta...), '}', '\n')
}

// classify looks at the code in a 400: some are no event's fault.
func (s *Sink) classify(err error) error {
	se, ok := errors.AsType[*logging.SinkError](err)
	answer, has := errors.AsType[*post.StatusError](err)
	if !ok || !has || se.Kind != logging.KindRejected {
		return err
	}
	var said struct {
		Code int `json:"code"`
	}
	if json.Unmarshal(answer.Body, &said) == nil {
		switch said.Code {
		case 7, 10, 11, 14: // incorrect index, data channel, acknowledgements
			se.Kind = logging.KindConfig
		}
	}
	return se
}
