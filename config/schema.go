package config

import (
	"reflect"
	"sync"

	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// schemas holds what was read of each type of settings, as encoding/json does: a
// program has few, they do not change, and to read one takes as long as to parse
// a file of its keys.
var schemas sync.Map // of reflect.Type to *typeSchema

type typeSchema struct {
	schema *typed.Schema
	errs   []string
}

// schemaOf returns the keys of a struct type, or what is wrong with it.
func schemaOf(rt reflect.Type) (*typed.Schema, []string) {
	known, ok := schemas.Load(rt)
	if !ok {
		fresh := new(typeSchema)
		fresh.schema, fresh.errs = typed.NewSchema(rt, specials())
		known, _ = schemas.LoadOrStore(rt, fresh)
	}
	t := known.(*typeSchema)
	return t.schema, t.errs
}
