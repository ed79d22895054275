// Package elastic ships log lines to Elasticsearch or OpenSearch by their bulk
// API.
//
//	sink, err := elastic.New(&elastic.Options{URL: "https://es.example.com:9200", Index: "logs-shop-prod", APIKey: key})
//
// Each event is created under its ID. One that is there already, because an
// answer was lost or a process killed, is answered with 409 and counts as
// received: nothing is stored twice. The answer is read item by item: exactly
// the items that failed for the moment are sent again, and exactly those that
// will never be taken are quarantined.
package elastic

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// Options says where and how to send. URL and Index are required.
type Options struct {
	// APIKey is sent as "Authorization: ApiKey <key>", in its encoded form.
	// Empty: not sent.
	APIKey secret.Secret `doc:"API key in its encoded form; empty: none"`
	// HTTP says how requests are made.
	sink.HTTP `koanf:",squash"`
	// DisableGzip sends the lines uncompressed.
	DisableGzip bool `doc:"send uncompressed"`
	// Index is the index, the alias or the data stream. IDs are unique per
	// index: behind an alias or a data stream that rolled over in between, an
	// event may be stored twice.
	Index string `doc:"index, alias or data stream"`
	// MaxBatchBytes is what the receiver takes in one request. Defaults to
	// 10 MB, the least among hosted offers; http.max_content_length is
	// 100 MB.
	MaxBatchBytes int `default:"10000000" zero:"default" min:"10000" doc:"what the receiver takes in one request"`
	// Password goes with Username.
	Password secret.Secret `doc:"password of username"`
	// URL is the receiver's address, to which /_bulk is added.
	URL string `doc:"receiver's address, without /_bulk"`
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

// Sink sends to Elasticsearch. Its methods are safe for concurrent use.
type Sink struct {
	post   *post.Poster
	url    *url.URL
	action string // of an item, up to its ID
	limits logging.Limits
}

// New returns a Sink. All bad options are reported at once.
func New(opts *Options) (*Sink, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	options.Fill(&o)
	wrong := options.Check(o)

	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	post.Token(&wrong, "APIKey", o.APIKey, true)
	post.Basic(&wrong, header, o.Username, o.Password)
	if o.Index == "" || o.Index != strings.ToLower(o.Index) || strings.ContainsAny(o.Index, "\\/*?\"<>| ,#:") || strings.ContainsAny(o.Index[:1], "-_+.") {
		wrong.Add("Index", "%q is no index name: use lower case letters, digits, - and _", o.Index)
	}
	if !o.APIKey.IsZero() && o.Username != "" {
		wrong.Add("APIKey", "is set, and Username too: use one")
	}

	if !o.APIKey.IsZero() {
		header.Set("Authorization", "ApiKey "+o.APIKey.Reveal())
	}

	p, bad := post.New("elastic", post.Options{HTTP: o.HTTP, URL: o.URL, Header: header, Gzip: !o.DisableGzip, Secrets: []secret.Secret{o.APIKey, o.Password}})
	wrong = append(wrong, bad...)
	if err := wrong.Err("elastic: new"); err != nil {
		return nil, err
	}

	u := p.URL().JoinPath("_bulk")
	u.RawQuery = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"
	action := append([]byte(`{"create":{"_index":`), jsontext.AppendString(nil, o.Index)...)

	s := &Sink{
		post:   p,
		url:    u,
		action: string(action) + `,"_id":"`,
	}

	// The action with an ID, and "@timestamp" with a time in front of the line.
	overhead := len(s.action) + 48 + 4 + 52
	s.limits = logging.Limits{MaxBatchBytes: o.MaxBatchBytes, MaxEventBytes: o.MaxBatchBytes - overhead - 1, Overhead: overhead}
	return s, nil
}

// Limits returns the limits of the Options.
func (s *Sink) Limits() logging.Limits { return s.limits }

// answer is the part of a bulk answer that is asked for.
type answer struct {
	Errors *bool  `json:"errors"`
	Items  []item `json:"items"`
}

// item holds one result, under the name of its action.
type item map[string]itemResult

// outcome returns the status of the item, 0 if it says nothing, and its reason.
func (i item) outcome() (status int, reason string) {
	for _, r := range i {
		return r.Status, fmt.Sprintf("%d %s: %s", r.Status, r.Error.Type, r.Error.Reason)
	}
	return 0, "the answer says nothing about the event"
}

type itemResult struct {
	Status int `json:"status"`
	Error  struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	} `json:"error"`
}

// Send indexes b. An object without "@timestamp" gets one with its time, as
// data streams ask for.
func (s *Sink) Send(ctx context.Context, b *logging.Batch) error {
	size := 0
	for _, e := range b.Events {
		size += len(e.Line) + s.limits.Overhead + 1
	}

	body := post.Body{Bytes: make([]byte, 0, size), MaxBatchBytes: s.limits.MaxBatchBytes}
	for i, e := range b.Events {
		from := len(body.Bytes)
		body.Bytes = append(append(append(body.Bytes, s.action...), e.ID...), "\"}}\n"...)
		body.Bytes = append(appendDocument(body.Bytes, e), '\n')
		body.Keep(i, from)
	}

	if err := body.Check(s.post, s.url); err != nil {
		return err
	}
	got, err := s.post.Post(ctx, s.url, body.Bytes)
	if err != nil {
		return err
	}

	if got.Cut && len(b.Events) > 1 {
		// Half of the events make half of an answer.
		return s.post.Fail(logging.KindTooLarge, s.url, "the answer is too long to be read")
	}
	return s.read(got.Body, len(b.Events))
}

// appendDocument appends e with each key once, as the receiver refuses an
// object that has one twice.
func appendDocument(b []byte, e logging.Event) []byte {
	if post.HasMember(e, "@timestamp") {
		return post.AppendUnique(b, e)
	}
	b = append(b, `{"@timestamp":"`...)
	b = post.Time(e).UTC().AppendFormat(b, time.RFC3339Nano)
	from := len(b)
	b = post.AppendUnique(append(b, '"'), e)
	if b[from+2] == '}' { // an empty object
		return append(b[:from+1], '}')
	}
	b[from+1] = ','
	return b
}

// read returns nil if the receiver has all events.
func (s *Sink) read(body []byte, events int) error {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil || a.Errors == nil {
		return s.post.Fail(logging.KindRetry, s.url, "the answer is no bulk answer")
	}
	if !*a.Errors {
		return nil
	}

	if len(a.Items) != events {
		return s.post.Fail(logging.KindRetry, s.url, fmt.Sprintf("the answer has %d items for %d events", len(a.Items), events))
	}

	// Among items that can be taken later, those that cannot are sent once more
	// too; then they are alone, and told apart.
	var failed []logging.Rejection
	kind := logging.KindRejected
	for i, item := range a.Items {
		status, reason := item.outcome()
		if status >= 200 && status < 300 || status == http.StatusConflict {
			continue
		}
		switch k := post.KindOf(status); {
		case status == 0:
			kind = logging.KindRetry
		case k == logging.KindRetry:
			kind = k
		case k == logging.KindConfig && kind != logging.KindRetry:
			kind = k
		}
		failed = append(failed, logging.Rejection{Index: i, Reason: s.post.Clean(reason)})
	}

	if failed == nil {
		return nil
	}
	se := s.post.Fail(kind, s.url, fmt.Sprintf("%d of %d not taken; item %d: %s", len(failed), events, failed[0].Index, failed[0].Reason))
	se.Rejected = failed
	return se
}
