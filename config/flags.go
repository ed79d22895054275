package config

import (
	"flag"
	"reflect"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// DefineFlags defines a flag on fs for every key of the settings that one text
// can set, such as -scrape.rotate-every, with what it takes, its default and the
// words of its doc tag as usage. A key that holds a [Secret] gets none: a command
// line is seen by every user of the machine and stands in the shell's history.
// Flags that fs has already are left alone. It panics if T is no struct. Parse
// fs, then hand it to [Flags].
func DefineFlags[T any](fs *flag.FlagSet, defaults T) {
	rv := reflect.ValueOf(&defaults).Elem()
	schema, errs := schemaOf(rv.Type())
	if len(errs) > 0 {
		panic("config: DefineFlags: " + errs[0])
	}
	typed.Fill(rv, schema.Root.Shape)

	eachLeaf(schema.Root, rv, func(e *typed.Entry, fv reflect.Value) {
		name := flagName(e.Key)
		if fs.Lookup(name) != nil || e.Shape.HoldsSecret() {
			return
		}
		f := &flagText{shape: e.Shape, key: e.Key}
		if fv.IsValid() && !fv.IsZero() {
			f.text = display(fv, e.Shape, e.Key, false)
		}
		fs.Var(f, name, usageOf(e))
	})
}

// usageOf says what a flag takes, in the back quotes from which package flag
// takes the name of the value, and what it means.
func usageOf(e *typed.Entry) string {
	usage := e.Field.Doc
	if usage != "" {
		usage += ": "
	}
	if len(e.Field.Rules.OneOf) > 0 {
		return usage + "`" + strings.Join(e.Field.Rules.OneOf, "|") + "`"
	}
	limits := e.Field.Rules.Limits(e.Shape)
	if limits != "" {
		limits = ", " + limits
	}
	return usage + "`" + e.Shape.Word() + "`" + limits
}

// flagText is a flag that keeps its text for Load, which reports all mistakes
// together.
type flagText struct {
	shape *typed.Shape
	key   string
	text  string
}

// String returns the text for [Flags]; flag.PrintDefaults asks for it too, by
// then without a value.
func (f *flagText) String() string {
	if f == nil {
		return ""
	}
	return f.text
}

func (f *flagText) Set(text string) error {
	f.text = text
	return nil
}

// IsBoolFlag lets -key stand for -key=true.
func (f *flagText) IsBoolFlag() bool { return f.shape != nil && f.shape.Code == typed.Bool }
