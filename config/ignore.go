package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// Ignore lets names be there that are no keys, so that loading can stay strict.
// A pattern matches the whole name of a variable ("APP_HOME"), a whole dotted key
// ("x-*"), or the name of a file in a [SecretsDir]; a * stands for any letters
// but the dot between the parts of a key. A pattern that matches a key of the
// settings is a mistake, as it would hide a value. [Store.Explain] lists what was
// ignored.
func Ignore(patterns ...string) Option {
	return func(o *options) { o.ignore = append(o.ignore, patterns...) }
}

// matchName reports whether a pattern of [Ignore] matches all of a name.
func matchName(pattern, name string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, before)
	if !ok {
		return false
	}

	for i := 0; i <= len(rest); i++ {
		if matchName(after, rest[i:]) {
			return true
		}
		if i < len(rest) && rest[i] == '.' {
			return false
		}
	}

	return false
}

// ignores reports a name that is left alone, and notes it for Explain.
func (r *reading) ignores(name string, where Origin) bool {
	for _, p := range r.opt.ignore {
		if matchName(p, name) {
			r.ignored = append(r.ignored, Entry{Key: name, Origin: where, Ignored: true})
			return true
		}
	}
	return false
}

// checkIgnore finds the patterns that would hide a key of the settings.
func (o *options) checkIgnore(schema *typed.Schema) (errs []string) {
	for _, p := range o.ignore {
		for _, key := range typed.SortedKeys(schema.ByKey) {
			if what := o.hides(p, schema.ByKey[key]); what != "" {
				errs = append(errs, fmt.Sprintf("Ignore %q: it hides %s", p, what))
				break
			}
		}
	}
	return errs
}

// hides returns the name of a key, or of its variable or file, that a pattern
// matches.
func (o *options) hides(pattern string, e *typed.Entry) string {
	names := []string{e.Key}
	if e.Shape.Code == typed.Map {
		names = append(names, e.Key+"."+entryOf(pattern, e.Key))
	}

	for _, s := range o.sources {
		switch s.kind {
		case layerEnv:
			if s.dotEnv != "" {
				continue // it has the prefix of Env
			}
			names = append(names, variable(s.path, e.Key), variable(s.path, e.Key)+fileSuffix)
		case layerSecrets:
			names = append(names, strings.ReplaceAll(e.Key, ".", "_"), strings.ReplaceAll(e.Key, "_", "-"))
		}
	}

	for _, name := range names {
		if matchName(pattern, name) {
			return e.Key
		}
	}

	return ""
}

// entryOf is an entry of the map that the pattern would match, if it matches
// any.
func entryOf(pattern, key string) string {
	parts, of := strings.Split(pattern, "."), strings.Split(key, ".")
	if len(parts) > len(of) {
		return strings.Join(parts[len(of):], ".")
	}
	return ""
}

// strangeSecret reports a file which is no key. It is a mistake if it is as good
// as one: one or two edits away from a key that has no file of its own. The
// folder holds other programs' files too.
func (r *reading) strangeSecret(l *layer, name string, byName map[string]*typed.Entry) {
	full := filepath.Join(l.name, name)
	if r.ignores(name, Origin{Layer: string(layerSecrets), Name: full}) {
		return
	}
	p := Problem{Kind: KindUnknown, Layer: l.describe() + "/" + name, Message: "the file is no key"}
	info, err := os.Stat(full)
	if err != nil {
		return
	}
	if info.IsDir() {
		p.Message, p.Hint = "a folder, which is not read", "the file of key mail.password is mail_password, in this folder itself"
		for _, key := range typed.SortedKeys(r.schema.ByKey) {
			if e := r.schema.ByKey[key]; e.Section && secretFileKey(key) == secretFileKey(name) {
				r.warnings = append(r.warnings, p)
			}
		}
		return
	}
	if !info.Mode().IsRegular() {
		return
	}

	var free []string
	for file, e := range byName {
		if l.root.Child(e.Key) == nil {
			free = append(free, file)
		}
	}
	p.Hint = typed.NearMiss(secretFileKey(name), free)
	if p.Hint == "" || r.opt.lenient {
		r.warnings = append(r.warnings, p)
		return
	}
	r.fail(p)
}
