// Package named composes error texts that name a package once: exported errors
// begin with it each, and one wraps another.
package named

import "strings"

// Wrap returns err as "pkg: op: cause", nil for nil. An empty op is left out.
func Wrap(pkg, op string, err error) error {
	if err == nil {
		return nil
	}
	return &wrapped{pkg: pkg, op: op, err: err}
}

// wrapped is an error with the package and what was done.
type wrapped struct {
	pkg, op string
	err     error
}

// Error composes the text.
func (w *wrapped) Error() string {
	text := w.pkg + ": "
	if w.op != "" {
		text += w.op + ": "
	}
	return text + Bare(w.err.Error(), w.pkg, "scrape")
}

// Unwrap returns the cause.
func (w *wrapped) Unwrap() error { return w.err }

// Bare returns text without the names of the packages where they begin an
// error's text. Elsewhere a name is what the text speaks of, as a container
// called tor.
func Bare(text string, names ...string) string {
	before := []string{": ", "; ", "(", "(after ", "\n"} // an error within another
	for _, name := range names {
		text = strings.TrimPrefix(text, name+": ")
		for _, b := range before {
			text = strings.ReplaceAll(text, b+name+": ", b)
		}
	}
	return text
}
