package config

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	tags "github.com/svcblocks/svcblocks/internal/options"
)

// Environ replaces the process's environment, so that tests run in parallel.
func Environ(pairs ...string) Option {
	return func(o *options) { o.environ = func() []string { return pairs } }
}

// WithoutEvents makes Run poll, as where the system has no file events.
func WithoutEvents() Option { return func(o *options) { o.noEvents = true } }

// HasWriter reports whether a process has a file open for writing.
var HasWriter = hasWriter

// ParseDocument parses a document of the format that the file name says, and
// reports the problems as an error.
func ParseDocument(name string, data []byte) (any, error) {
	l := &layer{kind: layerFile, name: name, format: formatOf(name), data: data}
	problems := l.parse()
	root := l.root
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	if root == nil {
		return nil, errors.Join(errs...)
	}
	return root.Any(), errors.Join(errs...)
}

// SnakeCase is the key of a field name.
var SnakeCase = tags.SnakeCase

// ParseReference splits the text of a reference.
func ParseReference(text string) (scheme, path, key string, err error) {
	r, err := parseReference(text)
	return r.scheme, r.path, r.key, err
}

// Splice sets a dotted key of a document to the value of a JSON text.
func Splice(name string, data []byte, key, json string) ([]byte, error) {
	var value *doc.Node
	if json != "" {
		n, err := doc.ParseValue(json)
		if err != nil {
			return nil, err
		}
		value = n
	}
	out, _, err := doc.Edit(formatOf(name), data, []doc.Change{{Path: strings.Split(key, "."), Value: value}})
	return out, err
}

// Command is Main with writers.
func Command[T any](ctx context.Context, defaults T, args []string, stdout, stderr io.Writer, opts ...Option) int {
	return command(ctx, defaults, args, stdout, stderr, opts)
}
