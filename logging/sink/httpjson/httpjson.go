// Package httpjson ships log lines to any HTTP endpoint that takes JSON lines
// (NDJSON): one POST per batch, one object per line.
//
//	sink, err := httpjson.New(&httpjson.Options{URL: "https://logs.example.com/ingest", IDField: "event_id"})
//
// A 2xx answer confirms the batch. Delivery is at least once: after a crash or
// a lost answer a batch may come again. The receiver recognises a repeat by the
// event's ID, which is the same each time and different for each event. With
// Options.IDField each line carries it. Without, the lines come as they stand
// in the log, and the header Batch-Id holds the ID of the first: an ID is
// <segment>-<offset>, so the ID of the line that begins n bytes into the body
// is that of the first with n added to the offset, if Batch-Contiguous is
// "true".
//
// A line that is no JSON object, such as one cut short by a crash, is sent as
// {"message":"…"}.
package httpjson

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. URL is required.
type Options struct {
	// HTTP says how requests are made.
	sink.HTTP `koanf:",squash"`
	// ContentType defaults to "application/x-ndjson".
	ContentType string `default:"application/x-ndjson" zero:"default" doc:"type of the body"`
	// Gzip sends the lines compressed. A receiver that does not look at
	// Content-Encoding may store bytes and say 200: see first that yours does.
	// Without it, and without IDField, the kernel copies the lines from the file
	// to a plain HTTP connection by itself.
	Gzip bool `doc:"send compressed"`
	// Header is added to each request.
	Header http.Header `doc:"headers of each request"`
	// IDField is the key under which each object carries its event's ID, such
	// as "event_id". Empty: none does.
	IDField string `doc:"key of the event's ID; empty: none"`
	// MaxBatchBytes, MaxBatchEvents and MaxEventBytes are what the receiver
	// takes in one request, uncompressed. 0: no limit but that of the shipper.
	MaxBatchBytes  int `min:"0" doc:"bytes of a request; 0: no limit"`
	MaxBatchEvents int `min:"0" doc:"events of a request; 0: no limit"`
	MaxEventBytes  int `min:"0" doc:"bytes of an event; 0: no limit"`
	// Token is sent as "Authorization: Bearer <token>". Empty: not sent.
	Token secret.Secret `doc:"bearer token; empty: none"`
	// URL is the endpoint.
	URL string `doc:"endpoint"`
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

// Sink sends to an HTTP endpoint. It is a [logging.Sink] and a
// [logging.RawSink]. Its methods are safe for concurrent use.
type Sink struct {
	post    *post.Poster
	url     *url.URL
	idField string
	raw     bool
	limits  logging.Limits
}

// New returns a Sink. All bad options are reported at once.
func New(opts *Options) (*Sink, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.ContentType == "" {
		o.ContentType = "application/x-ndjson"
	}

	// By hand: the reader of tags would weigh more than the rest of this sink.
	var wrong options.Mistakes
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxBatchBytes", o.MaxBatchBytes}, {"MaxBatchEvents", o.MaxBatchEvents}, {"MaxEventBytes", o.MaxEventBytes}} {
		if f.value < 0 {
			wrong.Add(f.name, "%d is below 0: use 0 for no limit", f.value)
		}
	}

	header := o.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", o.ContentType)
	if !o.Token.IsZero() {
		header.Set("Authorization", "Bearer "+o.Token.Reveal())
	}

	p, bad := post.New("httpjson", post.Options{HTTP: o.HTTP, URL: o.URL, Header: header, Gzip: o.Gzip, Secrets: []secret.Secret{o.Token}})
	wrong = append(wrong, bad...)

	s := &Sink{
		post:    p,
		url:     p.URL(),
		idField: o.IDField,
		raw:     o.IDField == "",
		limits:  logging.Limits{MaxBatchBytes: o.MaxBatchBytes, MaxBatchEvents: o.MaxBatchEvents, MaxEventBytes: o.MaxEventBytes},
	}

	if s.idField != "" {
		s.limits.Overhead = len(jsontext.AppendString(nil, s.idField)) + idBytes
		if s.limits.MaxEventBytes > 0 {
			s.limits.MaxEventBytes -= s.limits.Overhead
		}
	}

	if l := s.limits; o.MaxEventBytes > 0 && l.MaxEventBytes < 1 {
		wrong.Add("MaxEventBytes", "%d has no room for an event: its ID alone takes %d bytes", o.MaxEventBytes, l.Overhead)
	} else if l.MaxBatchBytes > 0 && l.MaxBatchBytes < l.Overhead+2 {
		wrong.Add("MaxBatchBytes", "%d has no room for an event: its ID alone takes %d bytes", o.MaxBatchBytes, l.Overhead)
	}

	if err := wrong.Err("httpjson: new"); err != nil {
		return nil, err
	}
	return s, nil
}

// idBytes is room for an ID, its quotes, a colon and a comma.
const idBytes = 27 + 1 + 12 + 2 + 2

// Limits returns the limits of the Options.
func (s *Sink) Limits() logging.Limits { return s.limits }

// Send posts b. A status of 400 or 422 counts as events that the receiver will
// never take, 413 as too much at once, 408, 409, 425, 429 and 5xx as an outage,
// and the rest as a mistake in the configuration.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	size := 0
	for _, e := range b.Events {
		size += len(e.Line) + 1 + s.limits.Overhead
	}
	body := post.Body{Bytes: make([]byte, 0, size), MaxBatchBytes: s.limits.MaxBatchBytes}
	if s.limits.MaxEventBytes > 0 {
		body.MaxEventBytes = s.limits.MaxEventBytes + s.limits.Overhead + 1
	}

	for i, e := range b.Events {
		from := len(body.Bytes)
		body.Bytes = append(post.AppendObject(body.Bytes, e, s.idField), '\n')
		body.Keep(i, from)
	}

	if err := body.Check(s.post, s.url); err != nil {
		return err
	}
	if _, err := s.post.Post(ctx, s.url, body.Bytes, "Batch-Id", b.ID); err != nil {
		return err
	}
	return body.Left(s.post, s.url)
}

// Raw reports whether lines are sent as they stand in the file: without their
// IDs.
func (s *Sink) Raw() bool { return s.raw }

// SendRaw posts the lines in body.
func (s *Sink) SendRaw(ctx context.Context, id string, body *io.SectionReader) error {
	_, err := s.post.PostSection(ctx, s.url, body, "Batch-Id", id, "Batch-Contiguous", "true")
	return err
}
