package config

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Kind says what is wrong, for programs that branch on it.
type Kind uint8

const (
	// KindOther: none of the kinds below, such as a FlagSet that is not parsed.
	KindOther Kind = iota
	// KindSyntax: a document that cannot be read as its format.
	KindSyntax
	// KindDuplicate: a key that stands twice in one section of a document.
	KindDuplicate
	// KindConflict: two places of one layer set the same key.
	KindConflict
	// KindUnknown: a key, variable or file that no setting reads.
	KindUnknown
	// KindMissing: a required key that nothing sets.
	KindMissing
	// KindWrongType: a value that the key's type cannot hold.
	KindWrongType
	// KindOutOfRange: a value that the key's min, max or oneof tag excludes.
	KindOutOfRange
	// KindInvalid: a Validate method refused the value.
	KindInvalid
	// KindUnresolved: a reference whose value could not be had.
	KindUnresolved
	// KindUnreadable: a file, folder or source that cannot be read.
	KindUnreadable
	// KindInsecure: a file or folder that everybody may write, or what
	// [Store.Audit] found.
	KindInsecure
)

// String names the kind: "unknown", "wrong type".
func (k Kind) String() string {
	names := [...]string{
		"other", "syntax", "duplicate", "conflict", "unknown", "missing", "wrong type",
		"out of range", "invalid", "unresolved", "unreadable", "insecure",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Problem is one mistake in the settings, and where it is.
type Problem struct {
	// Kind says what is wrong.
	Kind Kind
	// Key is the dotted key, such as "scrape.rotate_every". Empty where the
	// problem belongs to no key.
	Key string
	// Layer is what holds the mistake: "file config/config.yaml", "env APP_MODE",
	// "flag -mode", "default". Empty where a value is missing everywhere.
	Layer string
	// File is the path of the file that holds the mistake, Line and Column
	// (counted from 1, in characters) the place in it. Empty and 0 where the
	// layer has none.
	File         string
	Line, Column int
	// Value is what was read, quoted, or "[redacted]".
	Value string
	// Want says what was expected in place of Value.
	Want string
	// Message says what is wrong where Value and Want do not.
	Message string
	// Hint says what to do about it. May be empty.
	Hint string
	// Err is the cause, where there is one: a failed read, a resolver's error,
	// the error of a Validate method.
	Err error
}

// Error returns the problem on one line: place, key, what is wrong, hint. Of a
// key it shows 250 characters.
func (p Problem) Error() string {
	var b strings.Builder
	if where := p.where(); where != "" {
		b.WriteString(where + ": ")
	}
	if p.Key != "" {
		b.WriteString(cut(p.Key, maxKeyShown) + ": ")
	}
	b.WriteString(p.what())
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Unwrap returns Err.
func (p Problem) Unwrap() error { return p.Err }

func (p Problem) where() string {
	if p.File != "" {
		return position(p.File, p.Line, p.Column)
	}
	return p.Layer
}

func (p Problem) what() string {
	switch {
	case p.Message != "":
		return p.Message
	case p.Value != "":
		return "got " + p.Value + ", want " + p.Want
	}
	return "want " + p.Want
}

// Report is the error of [Load] and [Store.Reload]: every problem of the
// settings at once. Get it with errors.As.
type Report struct {
	// Problems holds at least one problem, in the order of the layers and, in a
	// file, of its lines; 100 of them if there are more.
	Problems []Problem
	// More counts those that Problems leaves out.
	More int
}

// maxProblems bounds what one report lists: a file of another program would
// fill the terminal.
const maxProblems = 100

// Error lists all problems, one a line.
func (r *Report) Error() string { return "config: load: " + r.text() }

func (r *Report) text() string {
	if len(r.Problems) == 1 {
		return r.Problems[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems:", len(r.Problems)+r.More)
	for _, p := range r.Problems {
		b.WriteString("\n  " + strings.ReplaceAll(p.Error(), "\n", "\n    "))
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "\n  and %d more", r.More)
	}
	return b.String()
}

// reportOf is a report within the error of another operation than a load.
type reportOf struct{ *Report }

func (r reportOf) Error() string { return r.text() }
func (r reportOf) Unwrap() error { return r.Report }

// within takes the name of the operation off a report.
func within(err error) error {
	var r *Report
	if errors.As(err, &r) {
		return reportOf{r}
	}
	return err
}

// Unwrap returns the problems, so that errors.Is finds their causes.
func (r *Report) Unwrap() []error {
	errs := make([]error, len(r.Problems))
	for i, p := range r.Problems {
		errs[i] = p
	}
	return errs
}

// sortProblems orders by layer, file and line; what has no place comes last.
func sortProblems(problems []Problem, rank map[string]int) {
	sort.SliceStable(problems, func(i, j int) bool {
		a, b := problems[i], problems[j]
		ra, rb := layerRank(a, rank), layerRank(b, rank)
		switch {
		case ra != rb:
			return ra < rb
		case a.Line != b.Line:
			return a.Line < b.Line
		case a.Column != b.Column:
			return a.Column < b.Column
		}
		return a.Layer < b.Layer
	})
}

func layerRank(p Problem, rank map[string]int) int {
	if r, ok := rank[p.Layer]; ok {
		return r
	}
	kind, _, _ := strings.Cut(p.Layer, " ")
	if r, ok := rank[kind]; ok && p.Layer != "" {
		return r
	}
	return len(rank) + 1
}

// scrubber takes the secrets that a snapshot has seen out of its messages:
// causes written elsewhere, such as a Validate method, may repeat one.
type scrubber struct{ secrets []secret.Secret }

func (s *scrubber) add(text string) {
	s.secrets = append(s.secrets, secret.New(text))
}

// problems cleans them in place. Keys and what is wanted are words of the
// program, in which a short secret is more likely meant as that word.
func (s *scrubber) problems(problems []Problem) {
	if len(problems) == 0 || len(s.secrets) == 0 {
		return
	}
	all := redact.New(s.secrets...)
	long := all.Long()
	for i := range problems {
		p := &problems[i]
		p.Key, p.Want = long.String(p.Key), long.String(p.Want)
		p.Value, p.Message, p.Hint = all.String(p.Value), all.String(p.Message), all.String(p.Hint)
		p.Err = all.Error(p.Err)
	}
}
