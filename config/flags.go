package config

import (
	"flag"
	"reflect"

	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// DefineFlags defines a flag on fs for every key of the settings that one text
// can set, such as -scrape.rotate-every, with the usage from its doc tag.
// Flags that fs has already are left alone. It panics if T is no struct.
// Parse fs, then hand it to [Flags].
func DefineFlags[T any](fs *flag.FlagSet, defaults T) {
	rv := reflect.ValueOf(&defaults).Elem()
	schema, errs := typed.NewSchema(rv.Type(), specials())
	if len(errs) > 0 {
		panic("config: DefineFlags: " + errs[0])
	}
	for _, e := range schema.Leaves {
		name := flagName(e.Key)
		if fs.Lookup(name) != nil {
			continue
		}
		fs.Var(&flagText{shape: e.Shape, key: e.Key}, name, e.Field.Doc)
	}
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
