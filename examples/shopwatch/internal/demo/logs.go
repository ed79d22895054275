package demo

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LogOptions holds the settings of a [LogReceiver]. The zero value is ready to
// use.
type LogOptions struct {
	Addr            string       // loopback address to listen on. Defaults to 127.0.0.1:0.
	Keep            int          // events kept to look at. Defaults to 100.
	Remember        int          // event ids remembered, to recognise repeats. Defaults to 200,000.
	MaxBytes        int64        // of a request's body as sent. Defaults to 8 MiB.
	MaxDecodedBytes int64        // of a request's body as decoded. Defaults to 64 MiB.
	MaxLineBytes    int          // of one event. Defaults to 2 MiB.
	IDKey           string       // member of the JSON object that holds the event's id. Defaults to "event_id".
	Logger          *slog.Logger // nil means no log
}

// LogEvent is one log line as it arrived. Times and texts are what the line
// says; a member that is absent or has another form is left empty.
type LogEvent struct {
	ID      string
	Time    time.Time
	Level   string
	Message string
	Attrs   string // the other members, as key=value in the order of the keys
}

// LogStats counts what a [LogReceiver] got since its start.
type LogStats struct {
	Batches int64 // requests answered with 200
	Events  int64 // events with an id not seen before
	Repeats int64 // events whose id was seen before
	Bytes   int64 // of all accepted events, decoded
	Refused int64 // requests answered with an error
}

// LogReceiver takes log lines in bulk: POST with one JSON object per line
// (NDJSON), plain or with Content-Encoding: gzip. It answers 200 once all
// lines of a request are counted. A request with a line that is no JSON object
// is refused whole with 400 and the line's number. All methods are safe for
// concurrent use.
//
// An event is recognised by its id: the member that LogOptions.IDKey names.
// Where a line has none it is reckoned from the header Batch-Id, the id
// <segment>-<offset> of the first line, if Batch-Contiguous is "true"; where
// there is none either, the line's content stands for it.
type LogReceiver struct {
	opts LogOptions
	*server

	mu    sync.Mutex
	stats LogStats
	seen  map[[16]byte]struct{}
	order *ring[[16]byte]
	last  *ring[LogEvent]
}

// StartLogReceiver starts a receiver. ctx bounds the start only. Nil opts
// means all defaults.
func StartLogReceiver(ctx context.Context, opts *LogOptions) (*LogReceiver, error) {
	r := &LogReceiver{seen: map[[16]byte]struct{}{}}
	if opts != nil {
		r.opts = *opts
	}
	o := &r.opts
	if o.Keep < 0 || o.Remember < 0 || o.MaxBytes < 0 || o.MaxDecodedBytes < 0 || o.MaxLineBytes < 0 {
		return nil, errors.New("demo: start log receiver: Keep, Remember and the limits must not be negative")
	}

	o.Keep = cmp.Or(o.Keep, 100)
	o.Remember = cmp.Or(o.Remember, 200_000)
	o.MaxBytes = cmp.Or(o.MaxBytes, 8<<20)
	o.MaxDecodedBytes = cmp.Or(o.MaxDecodedBytes, 64<<20)
	o.MaxLineBytes = cmp.Or(o.MaxLineBytes, 2<<20)
	o.IDKey = cmp.Or(o.IDKey, "event_id")
	o.Logger = orDiscard(o.Logger)

	r.order, r.last = newRing[[16]byte](o.Remember), newRing[LogEvent](o.Keep)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /bulk", r.bulk)
	var err error
	if r.server, err = startServer(ctx, "log receiver", o.Addr, mux, o.Logger); err != nil {
		return nil, err
	}
	return r, nil
}

// Addr is the address that the receiver listens on.
func (r *LogReceiver) Addr() string { return r.addr }

// URL is where log lines are posted to.
func (r *LogReceiver) URL() string { return "http://" + r.addr + "/bulk" }

// Close ends the receiver and waits for its requests for at most 2 s. It may
// be called more than once.
func (r *LogReceiver) Close() error { return r.close() }

// Stats returns the counts.
func (r *LogReceiver) Stats() LogStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Last returns the events that arrived last, the newest first.
func (r *LogReceiver) Last() []LogEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.newest()
}

func (r *LogReceiver) bulk(w http.ResponseWriter, req *http.Request) {
	events, status, err := r.read(w, req)
	if err != nil {
		r.mu.Lock()
		r.stats.Refused++
		r.mu.Unlock()
		r.opts.Logger.Warn("log batch refused", "status", status, "error", err)
		http.Error(w, err.Error(), status)
		return
	}
	accepted, repeated := r.store(events)
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, "{\"accepted\":%d,\"repeated\":%d}\n", accepted, repeated)
}

// arrival is an event on its way into the receiver.
type arrival struct {
	key   [16]byte
	bytes int
	event LogEvent
}

// read decodes a request; where it cannot, it says with which status to refuse
// it.
func (r *LogReceiver) read(w http.ResponseWriter, req *http.Request) ([]arrival, int, error) {
	media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || !slices.Contains([]string{"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json"}, media) {
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("content type %q: send application/x-ndjson", req.Header.Get("Content-Type"))
	}

	var body io.Reader = http.MaxBytesReader(w, req.Body, r.opts.MaxBytes)
	switch enc := strings.ToLower(req.Header.Get("Content-Encoding")); enc {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, statusOf(err), fmt.Errorf("gzip: %w", err)
		}
		defer z.Close()
		body = z
	default:
		w.Header().Set("Accept-Encoding", "gzip, identity")
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %q: send gzip or none", enc)
	}

	limited := &io.LimitedReader{R: body, N: r.opts.MaxDecodedBytes + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 64<<10), r.opts.MaxLineBytes)
	var start, next int64 // of the line, in the decoded body

	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, line, err := bufio.ScanLines(data, atEOF)
		start, next = next, next+int64(n)
		return n, line, err
	})

	segment, first, numbered := batchID(req.Header)
	var events []arrival
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if limited.N == 0 {
			break
		}

		event, err := r.parse(line)
		if err != nil {
			return nil, http.StatusBadRequest, fmt.Errorf("line %d: %w", n, err)
		}

		identity := "line\x00" + string(line)
		switch {
		case event.ID != "":
			identity = "id\x00" + event.ID
		case numbered:
			event.ID = fmt.Sprintf("%s-%d", segment, first+start)
			identity = "id\x00" + event.ID
		}

		sum := sha256.Sum256([]byte(identity))
		events = append(events, arrival{[16]byte(sum[:16]), len(line), event})
	}

	if limited.N == 0 {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("body: more than %d bytes decoded", r.opts.MaxDecodedBytes)
	}
	if err := lines.Err(); err != nil {
		return nil, statusOf(err), fmt.Errorf("body: %w", err)
	}
	return events, http.StatusOK, nil
}

// batchID reads the id of a batch's first line, from which those of the others
// follow.
func batchID(h http.Header) (segment string, offset int64, ok bool) {
	id := h.Get("Batch-Id")
	i := strings.LastIndexByte(id, '-')
	if i < 0 || h.Get("Batch-Contiguous") != "true" {
		return "", 0, false
	}
	offset, err := strconv.ParseInt(id[i+1:], 10, 64)
	return id[:i], offset, err == nil && offset >= 0
}

func statusOf(err error) int {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || errors.Is(err, bufio.ErrTooLong) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

// parse reads one line. What it keeps of texts is bounded.
func (r *LogReceiver) parse(line []byte) (LogEvent, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return LogEvent{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if members == nil {
		return LogEvent{}, errors.New("not a JSON object: null")
	}

	text := func(key string) string {
		raw, ok := members[key]
		delete(members, key)
		var s string
		if !ok || json.Unmarshal(raw, &s) != nil {
			return strings.Trim(string(raw), `"`)
		}
		return s
	}

	e := LogEvent{ID: text(r.opts.IDKey), Level: clip(text("level"), 16), Message: clip(text("msg"), 512)}
	// A time of another form stays zero; the line is good all the same.
	e.Time, _ = time.Parse(time.RFC3339Nano, text("time"))

	var attrs strings.Builder
	for _, k := range slices.Sorted(maps.Keys(members)) {
		if attrs.Len() > 1024 {
			break
		}
		if attrs.Len() > 0 {
			attrs.WriteByte(' ')
		}
		attrs.WriteString(clip(k, 64) + "=" + clip(string(members[k]), 256))
	}

	e.Attrs = attrs.String()
	return e, nil
}

func (r *LogReceiver) store(events []arrival) (accepted, repeated int64) {
	r.mu.Lock()
	defer r.mu.Unlock()

	for _, a := range events {
		if _, ok := r.seen[a.key]; ok {
			repeated++
			continue
		}
		accepted++
		r.stats.Bytes += int64(a.bytes)
		r.seen[a.key] = struct{}{}
		if old, left := r.order.add(a.key); left {
			delete(r.seen, old)
		}
		r.last.add(a.event)
	}

	r.stats.Batches++
	r.stats.Events += accepted
	r.stats.Repeats += repeated
	return accepted, repeated
}

// clip cuts s to at most n bytes, at the border of a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.Clone(s) // not a part of a larger text that would stay alive
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
