package diskcache

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/cachecontrol/cacheobject"
)

// storable are the statuses that are understood here. 206 is not: ranges are
// not put together.
var storable = []int{
	http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusMultipleChoices, http.StatusMovedPermanently, http.StatusFound,
	http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusNotFound, http.StatusGone,
}

// unstored are the header fields that belong to one message or one visitor
// (RFC 9111 §3.1), and those that say how the body came.
var unstored = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Set-Cookie", "Set-Cookie2", "Authorization", "Authentication-Info",
	"Www-Authenticate", "Clear-Site-Data",
}

// fixed are those that a 304 does not change, for the stored body depends on
// them (RFC 9111 §3.2).
var fixed = []string{"Content-Encoding", "Content-Length", "Content-Range", "Content-Type"}

// keyOf names the files of an address. It tells nothing of it.
func keyOf(u *url.URL) string {
	sum := sha256.Sum256([]byte(strings.ToLower(u.Scheme+"://"+u.Host) + u.RequestURI()))
	return hex.EncodeToString(sum[:])
}

// wishesOf returns what the request says of caches, and reports whether it is
// for one at all: a plain GET, without credentials, cookies or conditions of
// its own.
func wishesOf(req *http.Request) (*cacheobject.RequestCacheDirectives, bool) {
	if req.Method != "" && req.Method != http.MethodGet || req.Body != nil && req.Body != http.NoBody || req.URL.User != nil {
		return nil, false
	}

	for _, name := range []string{"Authorization", "Cookie", "Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range"} {
		if len(req.Header[name]) > 0 {
			return nil, false
		}
	}

	text := joined(req.Header, "Cache-Control")
	if text == "" && strings.Contains(joined(req.Header, "Pragma"), "no-cache") { // RFC 9111 §5.4
		text = "no-cache"
	}
	want, err := cacheobject.ParseRequestCacheControl(text)
	if err != nil || want.NoStore {
		return nil, false
	}
	return want, true
}

// isSafe reports whether a method leaves what is at its address as it is (RFC
// 9110 §9.2.1).
func isSafe(method string) bool {
	return method == "" || slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace}, method)
}

// joined returns a list field that may stand on several lines.
func joined(h http.Header, name string) string { return strings.Join(h[name], ", ") }

// isPersonal reports whether one visitor's cookies had a part in an answer.
func isPersonal(sent, got http.Header) bool {
	return len(sent["Cookie"]) > 0 || len(got["Set-Cookie"]) > 0
}

// verdict is what RFC 9111 says of an answer.
type verdict struct {
	storable   bool
	lifetime   time.Duration // 0: stale from the start
	directives *cacheobject.ResponseCacheDirectives
}

// judge applies the rules for shared caches. What the header says wrongly
// makes the answer stale or not storable.
func judge(sent *http.Request, status int, got http.Header, received time.Time) verdict {
	directives, err := cacheobject.ParseResponseCacheControl(joined(got, "Cache-Control"))
	if err != nil {
		return verdict{}
	}
	object := cacheobject.Object{
		RespDirectives: directives, RespHeaders: got, RespStatusCode: status, ReqHeaders: http.Header{}, ReqMethod: http.MethodGet,
		NowUTC: received.UTC(),
	}

	if sent != nil {
		object.ReqHeaders = sent.Header
	}

	// An Expires that is no date, as "0", means stale, and so does the zero time.
	if expires, err := http.ParseTime(got.Get("Expires")); err == nil {
		object.RespExpiresHeader = expires.UTC()
	}
	object.RespDateHeader = dateOf(got, received)
	var results cacheobject.ObjectResults
	cacheobject.CachableObject(&object, &results)

	v := verdict{storable: len(results.OutReasons) == 0 && slices.Contains(storable, status), directives: directives}
	// Last-Modified is not given, by which it would guess.
	cacheobject.ExpirationObject(&object, &results)
	if !results.OutExpirationTime.IsZero() {
		v.lifetime = max(0, results.OutExpirationTime.Sub(object.NowUTC))
	}
	return v
}

// dateOf is when the site made the answer.
func dateOf(h http.Header, received time.Time) time.Time {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		return date.UTC()
	}
	return received.UTC()
}

// worthStoring reports whether an answer may be stored, and can be used again.
func worthStoring(opts *Options, sent *http.Request, res *http.Response, now time.Time) bool {
	if opts.KeepFor > 0 {
		return slices.Contains(storable, res.StatusCode) && len(sent.Header["Cookie"]) == 0
	}
	if isPersonal(sent.Header, res.Header) {
		return false
	}
	v := judge(sent, res.StatusCode, res.Header, now)
	return v.storable && (v.lifetime > 0 || opts.MaxStale > 0 || hasValidator(res.Header))
}

func hasValidator(h http.Header) bool { return h.Get("Etag") != "" || h.Get("Last-Modified") != "" }

// varies returns the request fields that an answer depends on, in order, and
// false if it depends on more than those.
func varies(h http.Header) ([]string, bool) {
	var names []string
	for _, value := range h["Vary"] {
		for name := range strings.SplitSeq(value, ",") {
			switch name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)); name {
			case "*":
				return nil, false
			case "", "Accept-Encoding": // bodies are stored decoded
			default:
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// selecting stands for the values of the fields that an answer depends on.
func selecting(names []string, sent http.Header) string {
	if len(names) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, name := range names {
		var values []string
		for _, value := range sent[name] {
			for part := range strings.SplitSeq(value, ",") {
				values = append(values, strings.TrimSpace(part))
			}
		}
		_, _ = io.WriteString(sum, name+"\x00"+strings.Join(values, ",")+"\x00") // a hash takes all
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// storedHeader returns what is kept of an answer's header.
func storedHeader(h http.Header) http.Header {
	kept := maps.Clone(h)
	for _, value := range h["Connection"] { // may name more of them
		for name := range strings.SplitSeq(value, ",") {
			kept.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range unstored {
		delete(kept, name)
	}
	return kept
}

// updated returns a stored header with what a 304 says.
func updated(stored, notModified http.Header) http.Header {
	header := maps.Clone(stored)
	delete(header, "Age") // of the answer that was stored
	for name, values := range storedHeader(notModified) {
		if !slices.Contains(fixed, name) {
			header[name] = values
		}
	}
	return header
}
