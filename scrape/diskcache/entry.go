package diskcache

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/cachecontrol/cacheobject"
)

// meta is what is kept of an answer beside its body.
type meta struct {
	Status    int         `json:"status"`
	Header    http.Header `json:"header"`
	Decoded   bool        `json:"decoded,omitempty"`
	Requested time.Time   `json:"requested"`
	Received  time.Time   `json:"received"`
	Vary      []string    `json:"vary,omitempty"`
	Selecting string      `json:"selecting,omitempty"`
	Bytes     int64       `json:"bytes"`
	Sum       uint32      `json:"sum"`
}

// entry is a stored answer.
type entry struct {
	meta

	path string
	body []byte
}

// touch notes that the entry was used.
func (e *entry) touch() {
	now := time.Now()
	_ = os.Chtimes(e.path, now, now) // it may be gone: it is only the order of eviction
}

// discard removes the entry.
func (e *entry) discard() { _ = os.Remove(e.path) } // it may be gone

// response returns the answer. A fresh one says how old it is (RFC 9111 §5.1).
func (e *entry) response(req *http.Request, fresh bool) *http.Response {
	res := &http.Response{
		Status: strconv.Itoa(e.Status) + " " + http.StatusText(e.Status), StatusCode: e.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: maps.Clone(e.Header), Uncompressed: e.Decoded,
		ContentLength: int64(len(e.body)), Body: io.NopCloser(bytes.NewReader(e.body)), Request: req,
	}
	if fresh {
		res.Header.Set("Age", strconv.FormatInt(int64(e.age(time.Now())/time.Second), 10))
	}
	return res
}

// nothingStored is the answer to only-if-cached.
func nothingStored(req *http.Request) *http.Response {
	return (&entry{meta: meta{Status: http.StatusGatewayTimeout, Header: http.Header{}}}).response(req, false)
}

// mayAnswer reports whether the entry may answer without asking the site (RFC 9111
// §4.2, §5.2.1).
func (e *entry) mayAnswer(want *cacheobject.RequestCacheDirectives, opts *Options, now time.Time) bool {
	seconds := func(d cacheobject.DeltaSeconds) time.Duration { return time.Duration(d) * time.Second }
	if want.NoCache || now.Before(e.Received) {
		return false
	}
	if kept := now.Sub(e.Received); opts.KeepFor > 0 {
		return kept <= opts.KeepFor && (want.MaxAge < 0 || kept <= seconds(want.MaxAge))
	}

	v := judge(nil, e.Status, e.Header, e.Received)
	if !v.storable || v.directives.NoCachePresent {
		return false
	}
	age := e.age(now)
	if want.MaxAge >= 0 && age > seconds(want.MaxAge) || want.MinFresh >= 0 && v.lifetime-age < seconds(want.MinFresh) {
		return false
	}
	if v.lifetime > age {
		return true
	}

	// It is stale, which the site may allow, and the request or MaxStale take.
	strict := v.directives.MustRevalidate || v.directives.ProxyRevalidate || v.directives.SMaxAge >= 0
	over := age - v.lifetime
	switch {
	case strict:
		return false
	case want.MaxStaleSet:
		return true
	case want.MaxStale >= 0:
		return over <= seconds(want.MaxStale)
	}
	return opts.MaxStale > 0 && over <= opts.MaxStale
}

// age is the time since the site made the answer or confirmed it (RFC 9111
// §4.2.3).
func (e *entry) age(now time.Time) time.Duration {
	apparent := max(0, e.Received.Sub(dateOf(e.Header, e.Received)))
	var told time.Duration
	if n, err := strconv.ParseUint(e.Header.Get("Age"), 10, 31); err == nil {
		told = time.Duration(n) * time.Second
	}
	return max(apparent, told+e.Received.Sub(e.Requested)) + now.Sub(e.Received)
}

// conditional returns req with the question whether the entry still holds, or
// req itself if that cannot be asked.
func (e *entry) conditional(req *http.Request, withoutETag bool) *http.Request {
	etag, date := e.Header.Get("Etag"), e.Header.Get("Last-Modified")
	if withoutETag {
		etag = ""
	}
	if etag == "" && date == "" {
		return req
	}

	ask := req.WithContext(req.Context())
	ask.Header = maps.Clone(req.Header)
	if etag != "" {
		ask.Header.Set("If-None-Match", etag)
	}
	if date != "" {
		ask.Header.Set("If-Modified-Since", date)
	}
	return ask
}

// isMeantBy reports whether a 304 with this header is about the entry (RFC 9111
// §4.3.4).
func (e *entry) isMeantBy(notModified http.Header) bool {
	if have, told := e.Header.Get("Etag"), notModified.Get("Etag"); have != "" && told != "" {
		return strings.TrimPrefix(have, "W/") == strings.TrimPrefix(told, "W/")
	}
	if have, told := e.Header.Get("Last-Modified"), notModified.Get("Last-Modified"); have != "" && told != "" {
		return have == told
	}
	return true
}

// readMeta reads the end of a file.
func (e *entry) readMeta(file io.ReaderAt, size int64) error {
	foot := make([]byte, footBytes)
	if size < int64(len(foot)) {
		return fmt.Errorf("%w: cut", errDamaged)
	}
	if _, err := file.ReadAt(foot, size-int64(len(foot))); err != nil {
		return err
	}

	length := int64(binary.BigEndian.Uint32(foot[4:]))
	if string(foot[8:]) != mark || length > maxMeta || length > size-int64(len(foot)) {
		return fmt.Errorf("%w: no foot", errDamaged)
	}
	text := make([]byte, length)
	if _, err := file.ReadAt(text, size-int64(len(foot))-length); err != nil {
		return err
	}

	if crc32.Checksum(text, castagnoli) != binary.BigEndian.Uint32(foot) {
		return fmt.Errorf("%w: wrong checksum of the header", errDamaged)
	}
	if err := json.Unmarshal(text, &e.meta); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if e.Bytes != size-int64(len(foot))-length {
		return fmt.Errorf("%w: %d bytes of body, not %d", errDamaged, size-int64(len(foot))-length, e.Bytes)
	}
	return nil
}

// end returns what follows the body.
func (m *meta) end() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	length := uint32(len(text))
	sum := crc32.Checksum(text, castagnoli)
	text = binary.BigEndian.AppendUint32(text, sum)
	text = binary.BigEndian.AppendUint32(text, length)
	return append(text, mark...), nil
}
