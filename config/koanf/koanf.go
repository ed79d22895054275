// Package koanf is the bridge between config and koanf, both ways.
//
// Koanf's providers and parsers are layers of config as they are:
//
//	config.Source("consul", provider, yaml.Parser())
//
// [Layer] makes one of a Koanf that a program has filled already, and [View]
// gives the settings of a store as a Koanf, for code that reads by key.
package koanf

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/knadh/koanf/v2"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/config/secret"
)

// Layer adds what k holds as a layer, under a name for messages. It is read
// again at each reload; k must not be changed while it is read.
func Layer(name string, k *koanf.Koanf) config.Option {
	if k == nil {
		panic("koanf: Layer " + name + ": nil Koanf")
	}
	return config.Source(name, tree{k.Raw}, nil)
}

// tree is a provider of maps.
type tree struct{ read func() map[string]any }

// Read returns the map.
func (t tree) Read() (map[string]any, error) { return t.read(), nil }

// ReadBytes is not used, as there is no parser.
func (t tree) ReadBytes() ([]byte, error) { return nil, errors.New("koanf: a tree has no bytes") }

// View returns a function that gives the current settings of store as a Koanf
// with the delimiter ".". Call it once per piece of work and read from what it
// returned: that is one snapshot, frozen, so that nobody sees a mixed tree. The
// same snapshot gives the same Koanf, which must not be changed.
//
// The values are those that files would hold: numbers and booleans as such,
// durations, sizes and times as text. Secrets and URLs are there in full, so do
// not print the Koanf. Safe for concurrent use.
func View[T any](store *config.Store[T]) func() *koanf.Koanf {
	shape := typed.ShapeOf(reflect.TypeFor[T](), map[reflect.Type]typed.Special{
		reflect.TypeFor[config.URL](): {Text: func(rv reflect.Value) string { return rv.Interface().(config.URL).String() }},
	})
	var mu sync.Mutex
	var of *T
	var view *koanf.Koanf

	return func() *koanf.Koanf {
		mu.Lock()
		defer mu.Unlock()
		now := store.Get()
		if of == now {
			return view
		}

		values, _ := value(reflect.ValueOf(now).Elem(), shape).(map[string]any)
		k := koanf.New(".")
		if err := k.Load(tree{func() map[string]any { return values }}, nil); err != nil {
			panic(fmt.Sprintf("koanf: View: %v", err)) // a tree in memory is always there
		}
		of, view = now, k
		return view
	}
}

// value turns settings into the maps, lists and scalars that Koanf holds.
func value(rv reflect.Value, s *typed.Shape) any {
	switch s.Code {
	case typed.Pointer:
		if rv.IsNil() {
			return nil
		}
		return value(rv.Elem(), s.Elem)
	case typed.Struct:
		out := map[string]any{}
		for name, f := range s.Struct.Names {
			if fv, ok := typed.ReadPath(rv, f.Path); ok {
				out[name] = value(fv, f.Shape)
			}
		}
		return out
	case typed.Map:
		out := make(map[string]any, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			out[typed.PlainText(it.Key(), s.Key)] = value(it.Value(), s.Elem)
		}
		return out
	case typed.Slice, typed.Array:
		out := make([]any, rv.Len())
		for i := range out {
			out[i] = value(rv.Index(i), s.Elem)
		}
		return out
	case typed.Bool:
		return rv.Bool()
	case typed.Int:
		return rv.Int()
	case typed.Uint:
		return rv.Uint()
	case typed.Float:
		return rv.Float()
	case typed.Any:
		return typed.Copy(rv, s).Interface()
	case typed.Secret:
		return rv.Interface().(secret.Secret).Reveal()
	}

	return typed.PlainText(rv, s)
}
