// Package redact takes known secrets out of text.
//
// [New] makes a [Redactor] of secrets; [Redactor.String] and its relatives
// replace each of them by [Mask], in every form in which a secret comes to be
// written: plain, escaped for a URL or for HTML, quoted by %q or as JSON (also
// JSON within JSON), in base64 (also within a longer encoded text), in hex (also
// with spaces) and as a list of byte values. A secret that contains another is
// hidden whole.
//
// Secrets below 4 bytes are not searched for: their text is found everywhere.
// Base64 within a longer encoded text is found from 8 bytes on.
//
// [URL] and [URLs] hide what addresses and connection strings carry without
// knowing any secret.
package redact

import (
	"fmt"
	"io"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Mask stands in place of a secret.
const Mask = secret.Redacted

// minBytes is the length below which a secret is not searched for, and
// longBytes the length from which it is searched for within longer base64 and
// in an operator's own text.
const (
	minBytes  = 4
	longBytes = 8
)

// ellipsis stands for text that was cut off.
const ellipsis = "…"

// Redactor replaces the secrets it was made of. The zero value and nil know
// none and return what they get. A Redactor is immutable and safe for
// concurrent use.
type Redactor struct {
	secrets []secret.Secret

	// forms holds the secrets in clear. It is behind a function so that
	// dumpers which read unexported fields by reflection cannot show them.
	forms func() *index
}

// New returns a Redactor of the secrets that have 4 bytes or more.
func New(secrets ...secret.Secret) *Redactor {
	r := &Redactor{}
	var forms []form
	for _, s := range secrets {
		if value := s.Reveal(); len(value) >= minBytes {
			r.secrets = append(r.secrets, s)
			forms = append(forms, formsOf(value)...)
		}
	}

	if x := newIndex(forms); x != nil {
		r.forms = func() *index { return x }
	}
	return r
}

// Long returns a Redactor of those secrets that have 8 bytes or more. It is
// for text that an operator wrote: there a short secret, such as a word, is more
// likely meant as that word. Call it once and keep the result.
func (r *Redactor) Long() *Redactor {
	if r == nil {
		return nil
	}
	var long []secret.Secret
	for _, s := range r.secrets {
		if len(s.Reveal()) >= longBytes {
			long = append(long, s)
		}
	}
	return New(long...)
}

// IsZero reports whether the Redactor knows no secret.
func (r *Redactor) IsZero() bool { return r == nil || r.forms == nil }

// Contains reports whether b shows a secret. It does not allocate.
func (r *Redactor) Contains(b []byte) bool { return !r.IsZero() && shows(r.forms(), b) }

// Shows reports whether s shows a secret. It does not allocate.
func (r *Redactor) Shows(s string) bool { return !r.IsZero() && shows(r.forms(), s) }

// String returns s with each secret replaced by Mask, also one that was cut off
// before a "…". Without any it returns s itself.
func (r *Redactor) String(s string) string {
	if !r.Shows(s) {
		return s
	}
	return string(appendClean(nil, r.forms(), s))
}

// Bytes returns b with each secret replaced by Mask, in new memory. Without any
// it returns b itself and does not allocate.
func (r *Redactor) Bytes(b []byte) []byte {
	if !r.Contains(b) {
		return b
	}
	return appendClean(nil, r.forms(), b)
}

// Append appends src to dst with each secret replaced by Mask. The two must not
// overlap.
func (r *Redactor) Append(dst, src []byte) []byte {
	if r.IsZero() {
		return append(dst, src...)
	}
	return appendClean(dst, r.forms(), src)
}

// Error returns an error with the text of err in which each secret is replaced
// by Mask. An error that shows none, and whose causes show none, is returned
// itself.
//
// errors.Is finds the causes of err as before. errors.As gives out a cause only
// if neither its text nor that of its own causes shows a secret; an interface of
// Temporary, Timeout and RetryAfter is answered in place of a cause that does.
// Every verb of fmt writes the clean text.
func (r *Redactor) Error(err error) error {
	if err == nil || !showsIn(r, err) {
		return err
	}
	return &cleanError{text: r.String(err.Error()), red: r, cause: func() error { return err }}
}

// Reason returns what the function Reason does, without secrets: they are
// taken out before the text is cut, and again where making one line of it put
// one together.
func (r *Redactor) Reason(s string) string { return r.String(Reason(r.String(s))) }

// Format writes the type's name for every verb: the secrets stay inside.
func (r *Redactor) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "redact.Redactor") }

func shows[T text](x *index, s T) bool {
	if start, _ := x.next(view(s), 0); start >= 0 {
		return true
	}
	start, _ := x.nextCut(view(s), 0)
	return start >= 0
}

// appendClean appends src to dst, with a Mask in place of each secret.
func appendClean[T text](dst []byte, x *index, src T) []byte {
	s := view(src)

	begin := len(dst)
	dst = appendMasked(dst, s, x.next)
	if !strings.Contains(s, ellipsis) {
		return dst
	}

	// What was cut off is looked for in what is left: a whole secret is not
	// taken for the start of a longer one.
	rest := string(dst[begin:])
	return appendMasked(dst[:begin], rest, x.nextCut)
}

// appendMasked appends s to dst with a Mask in place of each range that next
// finds.
func appendMasked(dst []byte, s string, next func(s string, from int) (start, end int)) []byte {
	kept := 0
	for {
		start, end := next(s, kept)
		if start < 0 {
			return append(dst, s[kept:]...)
		}
		dst = append(append(dst, s[kept:start]...), Mask...)
		kept = end
	}
}
