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
	"net/http"
	"net/url"
	"strconv"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. URL and Token are required.
type Options struct {
	// HTTP says how requests are made.
	sink.HTTP `koanf:",squash"`
	// Channel is the channel of the requests, a GUID, which tokens with
	// acknowledgement ask for. Acknowledgements are not asked for. Empty: none.
	Channel string `doc:"channel of the requests, a GUID; empty: none"`
	// DisableGzip sends the lines uncompressed.
	DisableGzip bool `doc:"send uncompressed"`
	// DisableID leaves out the field "event_id".
	DisableID bool `doc:"leave event_id out"`
	// Host, Index, Source and SourceType are put on each event. Empty: those
	// of the token.
	Host       string `doc:"host of each event; empty: the token's"`
	Index      string `doc:"index of each event; empty: the token's"`
	Source     string `doc:"source of each event; empty: the token's"`
	SourceType string `doc:"source type of each event; empty: the token's"`
	// Token is the collector's token.
	Token secret.Secret `doc:"collector's token"`
	// URL is the collector's address, to which /services/collector/event is
	// added.
	URL string `doc:"collector's address, without /services/collector"`
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
	options.Fill(&o)
	wrong := options.Check(o)
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Splunk " + o.Token.Reveal()}}

	if o.Channel != "" {
		header.Set("X-Splunk-Request-Channel", o.Channel)
	}
	p, bad := post.New("splunk", post.Options{HTTP: o.HTTP, URL: o.URL, Header: header, Gzip: !o.DisableGzip, Secrets: []secret.Secret{o.Token}})
	wrong = append(wrong, bad...)
	post.Token(&wrong, "Token", o.Token, false)
	if err := wrong.Err("splunk: new"); err != nil {
		return nil, err
	}

	var meta []byte
	for _, m := range []struct{ key, value string }{{"host", o.Host}, {"index", o.Index}, {"source", o.Source}, {"sourcetype", o.SourceType}} {
		if m.value != "" {
			meta = append(jsontext.AppendString(append(meta, ','), m.key), ':')
			meta = jsontext.AppendString(meta, m.value)
		}
	}

	return &Sink{
		post: p,
		url:  p.URL().JoinPath("services/collector/event"),
		meta: string(meta),
		id:   !o.DisableID,
	}, nil
}

// Limits returns 2 MiB a batch and 1 MB an event.
func (s *Sink) Limits() logging.Limits {
	return logging.Limits{MaxBatchBytes: maxBatchBytes, MaxEventBytes: maxEventBytes, Overhead: len(s.meta) + 120}
}

// Send posts b. The collector stops at the first event that it refuses and says
// which; what stands before it is taken, and the rest is sent again here.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	var refused []logging.Rejection
	var last *logging.SinkError
	for from := 0; from < len(b.Events); {
		err := s.send(ctx, b.Events[from:])
		se, ok := errors.AsType[*logging.SinkError](err)
		if err == nil {
			break
		}

		if !ok || se.Kind != logging.KindRejected || len(se.Rejected) == 0 {
			if from == 0 || !ok {
				return err
			}
			// What was refused is asked for once more, with what was not sent.
			se.Rejected = append(se.Rejected, refused...)
			for i := from; i < len(b.Events); i++ {
				se.Rejected = append(se.Rejected, logging.Rejection{Index: i, Reason: se.Error()})
			}
			if se.Kind != logging.KindConfig {
				se.Kind = logging.KindRetry
			}
			return se
		}

		next := from
		for _, r := range se.Rejected {
			refused = append(refused, logging.Rejection{Index: from + r.Index, Reason: r.Reason, Unsent: r.Unsent})
			if !r.Unsent {
				next = from + r.Index + 1
			}
		}
		last = se
		if next == from {
			break // all that was sent was taken
		}
		from = next
	}

	if last == nil {
		return nil
	}
	last.Rejected = refused
	return last
}

// send posts events in one request.
func (s *Sink) send(ctx context.Context, events []logging.Event) error {
	batch := post.Body{MaxBatchBytes: maxBatchBytes}
	for i, e := range events {
		from := len(batch.Bytes)
		batch.Bytes = s.appendEvent(batch.Bytes, e)
		batch.Keep(i, from)
	}

	if err := batch.Check(s.post, s.url); err != nil {
		return err
	}
	answer, err := s.post.Post(ctx, s.url, batch.Bytes)
	if err != nil {
		return s.classify(err, len(events))
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

	if post.IsObject(e.Line) && json.Valid(e.Line) {
		body = append(body, e.Line...)
	} else {
		body = jsontext.AppendString(body, string(e.Line))
	}

	if s.id {
		body = append(body, `,"fields":{"event_id":`...)
		body = append(jsontext.AppendString(body, e.ID), '}')
	}
	return append(append(body, s.meta...), '}', '\n')
}

// classify looks at the code in a 400: some are no event's fault, and others name
// the event.
func (s *Sink) classify(err error, events int) error {
	se, ok := errors.AsType[*logging.SinkError](err)
	answer, has := errors.AsType[*post.StatusError](err)
	if !ok || !has || se.Kind != logging.KindRejected {
		return err
	}

	var said struct {
		Code   int    `json:"code"`
		Text   string `json:"text"`
		Number *int   `json:"invalid-event-number"`
	}
	if json.Unmarshal(answer.Body, &said) != nil {
		return se
	}

	switch said.Code {
	case 7, 10, 11, 14: // incorrect index, data channel, acknowledgements
		se.Kind = logging.KindConfig
	default:
		if said.Number != nil && *said.Number >= 0 && *said.Number < events {
			se.Rejected = []logging.Rejection{{Index: *said.Number, Reason: s.post.Clean(said.Text)}}
		}
	}

	return se
}
