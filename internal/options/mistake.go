package options

import (
	"errors"
	"fmt"
	"strings"
)

// Mistake is one thing that is wrong in an option struct.
type Mistake struct {
	// Field is the path of the field in Go: File.MaxBytes, Receivers[0].Name.
	Field string
	// Key is the key in settings: file.max_bytes, receivers[0].name. It is
	// empty for a field that settings cannot hold, and where Add made the
	// mistake: KeyOf finds it then.
	Key string
	// Text says what is wrong and what to do: "-1 is below 0: give 0 to 100".
	Text string
}

// Error returns the field and what is wrong with it.
func (m Mistake) Error() string {
	if m.Field == "" {
		return m.Text
	}
	return m.Field + ": " + m.Text
}

// Mistakes are all that is wrong in an option struct. As an error it has one
// line for each; errors.As finds it in what Err returns.
type Mistakes []Mistake

// Add adds a mistake of the field with that path, "" for one of no field.
func (m *Mistakes) Add(field, format string, args ...any) {
	*m = append(*m, Mistake{Field: field, Text: fmt.Sprintf(format, args...)})
}

// Within adds the mistakes of err, what Validate of the field with that path
// returned. An error that holds no Mistakes becomes one.
func (m *Mistakes) Within(field string, err error) {
	if err == nil {
		return
	}

	var inner Mistakes
	if !errors.As(err, &inner) {
		m.Add(field, "%s", err)
		return
	}

	for _, one := range inner {
		one.Key = ""
		switch {
		case one.Field == "":
			one.Field = field
		case !strings.HasPrefix(one.Field, "["):
			one.Field = join(field, one.Field)
		default:
			one.Field = field + one.Field
		}
		*m = append(*m, one)
	}
}

// Err returns an error with one line for each mistake, each behind the prefix:
// "logging: new: File.MaxBytes: -1 is below 0: …". It returns nil if there is none.
func (m Mistakes) Err(prefix string) error {
	if len(m) == 0 {
		return nil
	}
	return &list{prefix, m}
}

// Error returns one line for each mistake.
func (m Mistakes) Error() string { return m.lines("") }

func (m Mistakes) lines(prefix string) string {
	lines := make([]string, len(m))
	for i, one := range m {
		lines[i] = prefix + one.Error()
	}
	return strings.Join(lines, "\n")
}

// list is the error of a constructor.
type list struct {
	prefix string
	wrong  Mistakes
}

// Error returns one line for each mistake.
func (l *list) Error() string { return l.wrong.lines(l.prefix + ": ") }

// Unwrap returns the mistakes.
func (l *list) Unwrap() error { return l.wrong }
