package config

import (
	"reflect"
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// snapshot is one complete reading of the settings.
type snapshot struct {
	rv         reflect.Value // pointer to the settings
	heads      []*doc.Node   // by leaf id: the value that won, nil for the default
	ignored    []Entry       // names that Ignore let be there
	layers     []*layer
	warnings   []Problem
	inputs     []input
	references map[string][]string // reference text to the keys that use it
	at         time.Time
}

// mayWrite refuses a key whose value comes from a layer above the file.
func (s *snapshot) mayWrite(key string, n *doc.Node) error {
	if from(n) == noOrigin {
		return nil
	}
	file := slices.IndexFunc(s.layers, func(l *layer) bool { return l.writable })
	if slices.Index(s.layers, from(n).layer) > file {
		return &OverriddenError{Key: key, Origin: publicOrigin(n)}
	}
	return nil
}
