package scrape

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// parseAddress reads an absolute URL as it stands in pages and lists, by the
// rules of the URL standard (url.spec.whatwg.org). What cannot be read is no
// public address: other programs may well read one in it. Its errors do not show
// the URL, which may hold a password.
func parseAddress(address string) (*url.URL, error) {
	u, err := url.Parse(encodeAddress(address))
	if err != nil {
		return nil, unreadable(err)
	}
	return u, nil
}

// resolve reads a URL that may be relative to base.
func resolve(base *url.URL, address string) (*url.URL, error) {
	u, err := base.Parse(encodeAddress(address))
	if err != nil {
		return nil, unreadable(err)
	}
	return u, nil
}

// unreadable is the error for a URL that cannot be parsed, without the URL.
func unreadable(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("%w: %w", ErrForbiddenAddress, err)
}

// Characters that are encoded although they are printable ASCII, in a path and
// in a query.
const (
	encodedInPath  = " \"<>`{}^|"
	encodedInQuery = " \"<>'"
)

// encodeAddress brings a URL into the form that goes over the wire: blanks
// around it and line ends in it are dropped, a backslash is a slash, and what
// may not stand in a path or query is percent-encoded, as is a % that encodes
// nothing. The host is left alone.
func encodeAddress(address string) string {
	address = strings.TrimFunc(address, func(r rune) bool { return r <= ' ' })
	if strings.ContainsAny(address, "\t\r\n") {
		address = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(address)
	}

	before, fragment, hasFragment := strings.Cut(address, "#")
	before, query, hasQuery := strings.Cut(before, "?")

	// What comes before the path is scheme, user and host. A backslash there is
	// left, and refused later: readers differ about the host.
	path := 0
	if i := strings.Index(before, "//"); i >= 0 && (i == 0 || before[i-1] == ':') {
		if path = strings.IndexByte(before[i+2:], '/'); path < 0 {
			path = len(before)
		} else {
			path += i + 2
		}
	}

	slashed := strings.ReplaceAll(before[path:], `\`, "/")
	cleanPath, cleanQuery, cleanFragment := percent(slashed, encodedInPath), percent(query, encodedInQuery), percent(fragment, encodedInPath)
	if cleanPath == before[path:] && cleanQuery == query && cleanFragment == fragment {
		return address
	}

	out := before[:path] + cleanPath
	if hasQuery {
		out += "?" + cleanQuery
	}
	if hasFragment {
		out += "#" + cleanFragment
	}
	return out
}

// percent encodes what lies outside printable ASCII or in set.
func percent(s, set string) string {
	clean := true
	for i := range len(s) {
		if mustEncode(s, i, set) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}

	const digits = "0123456789ABCDEF"
	var out strings.Builder
	out.Grow(len(s) + 16)
	for i := range len(s) {
		if c := s[i]; mustEncode(s, i, set) {
			out.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			out.WriteByte(c)
		}
	}

	return out.String()
}

// mustEncode reports whether the byte at i cannot stay as it is.
func mustEncode(s string, i int, set string) bool {
	c := s[i]
	if c == '%' {
		return i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])
	}
	return c < ' ' || c > '~' || strings.IndexByte(set, c) >= 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
