// Package otlp ships log lines to an OpenTelemetry collector, or whatever takes
// OTLP over HTTP, as protobuf or JSON.
//
//	sink, err := otlp.New(&otlp.Options{URL: "http://localhost:4318", Resource: map[string]string{"service.name": "shop"}})
//
// A line's time, level, message, trace_id and span_id become those of the log
// record, its other members attributes, and its event's ID the attribute
// "log.record.uid". Lists and objects more than eight deep within one another are
// sent as their JSON text, which receivers can read. A partial success, whose answer counts the rejected records
// without naming them, is bisected until they are found; those accepted before
// come again under the same ID.
package otlp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. URL is required.
type Options struct {
	// HTTP says how requests are made.
	sink.HTTP `koanf:",squash"`
	// DisableGzip sends the request uncompressed.
	DisableGzip bool `doc:"send uncompressed"`
	// Encoding is "protobuf" or "json". Defaults to "protobuf".
	Encoding string `default:"protobuf" zero:"default" oneof:"protobuf|json" doc:"protobuf or json"`
	// Header is added to each request.
	Header http.Header `doc:"headers of each request"`
	// MaxBatchBytes is what the receiver takes in one request, measured in
	// lines. Defaults to 4 MB.
	MaxBatchBytes int `default:"4000000" zero:"default" min:"10000" doc:"what the receiver takes in one request, in bytes of lines"`
	// Resource holds the attributes of what logs, such as "service.name".
	Resource map[string]string `doc:"attributes of what logs, such as service.name"`
	// Token is sent as "Authorization: Bearer <token>". Empty: not sent.
	Token secret.Secret `doc:"bearer token; empty: none"`
	// URL is the collector's address, to which /v1/logs is added.
	URL string `doc:"collector's address, without /v1/logs"`
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

// Sink sends to a collector. Its methods are safe for concurrent use.
type Sink struct {
	post     *post.Poster
	url      *url.URL
	json     bool
	resource []attribute
	limits   logging.Limits
}

type attribute struct{ key, value string }

// New returns a Sink. All bad options are reported at once.
func New(opts *Options) (*Sink, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	options.Fill(&o)
	wrong := options.Check(o)
	post.Token(&wrong, "Token", o.Token, true)

	contentType := "application/x-protobuf"
	if o.Encoding == "json" {
		contentType = "application/json"
	}

	header := o.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", contentType)
	if !o.Token.IsZero() {
		header.Set("Authorization", "Bearer "+o.Token.Reveal())
	}

	p, bad := post.New("otlp", post.Options{HTTP: o.HTTP, URL: o.URL, Header: header, Gzip: !o.DisableGzip, Secrets: []secret.Secret{o.Token}})
	wrong = append(wrong, bad...)
	if err := wrong.Err("otlp: new"); err != nil {
		return nil, err
	}

	s := &Sink{
		post:   p,
		url:    p.URL().JoinPath("v1/logs"),
		json:   o.Encoding == "json",
		limits: logging.Limits{MaxBatchBytes: o.MaxBatchBytes, MaxEventBytes: o.MaxBatchBytes - 200, Overhead: 100},
	}
	for _, k := range slices.Sorted(maps.Keys(o.Resource)) {
		s.resource = append(s.resource, attribute{k, o.Resource[k]})
	}

	return s, nil
}

// Limits returns the limits of the Options.
func (s *Sink) Limits() logging.Limits { return s.limits }

// Send exports b.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	var body []byte
	if s.json {
		body = appendJSON(nil, s.resource, b)
	} else {
		body = appendProto(nil, s.resource, b)
	}

	answer, err := s.post.Post(ctx, s.url, body)
	if err != nil {
		return err
	}
	var rejected int64
	var message string

	if s.json {
		rejected, message, err = readJSON(answer.Body)
	} else {
		rejected, message, err = readProto(answer.Body)
	}

	if err != nil {
		return s.post.Fail(logging.KindRetry, s.url, "the answer is no export response: "+err.Error())
	}

	if rejected > 0 {
		se := s.post.Fail(logging.KindRejected, s.url, fmt.Sprintf("%d of %d records rejected: %s", rejected, len(b.Events), message))
		for i := range b.Events {
			if rejected >= int64(len(b.Events)) { // then it is known which
				se.Rejected = append(se.Rejected, logging.Rejection{Index: i, Reason: s.post.Clean(message)})
			}
		}
		return se
	}

	return nil
}

// response is an ExportLogsServiceResponse in JSON.
type response struct {
	PartialSuccess struct {
		RejectedLogRecords json.RawMessage `json:"rejectedLogRecords"` // a number or, as int64 should be, a string
		ErrorMessage       string          `json:"errorMessage"`
	} `json:"partialSuccess"`
}

func readJSON(p []byte) (rejected int64, message string, err error) {
	if len(p) == 0 {
		return 0, "", nil
	}
	var r response
	if err := json.Unmarshal(p, &r); err != nil {
		return 0, "", errors.New("no JSON")
	}

	if raw := r.PartialSuccess.RejectedLogRecords; len(raw) > 0 && string(raw) != "null" {
		text := string(raw)
		if raw[0] == '"' {
			text = text[1 : len(text)-1]
		}
		if rejected, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, "", errors.New("rejectedLogRecords is no number")
		}
	}

	return rejected, r.PartialSuccess.ErrorMessage, nil
}
