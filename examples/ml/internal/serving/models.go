package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/examples/ml/internal/model"
)

// Models are the versions of one model. Make them with [Open]. Safe for
// concurrent use.
type Models struct {
	name, base string
	log        *slog.Logger
	versions   atomic.Pointer[map[int]*model.Model]
	broken     map[int]string // what was last said of versions that do not load; of refresh alone
}

// Open loads all versions below base. Without one that loads it fails. Nil
// logger discards.
func Open(ctx context.Context, name, base string, logger *slog.Logger) (*Models, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m := &Models{name: name, base: base, log: logger, broken: map[int]string{}}
	m.versions.Store(&map[int]*model.Model{})
	if err := m.refresh(ctx); err != nil {
		return nil, err
	}
	if len(*m.versions.Load()) == 0 {
		return nil, fmt.Errorf("serving: %s: %w: train one first", base, model.ErrNoModel)
	}
	return m, nil
}

// Run looks for new and removed versions at each interval until ctx ends.
func (m *Models) Run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := m.refresh(ctx); err != nil {
				m.log.WarnContext(ctx, "versions not refreshed", "error", err)
			}
		}
	}
}

// refresh loads what is new and forgets what is gone. A version that does not
// load is left out and told of once: the others go on serving.
func (m *Models) refresh(ctx context.Context) error {
	found, err := model.Versions(m.base)
	if err != nil {
		return err
	}

	old := *m.versions.Load()
	next := map[int]*model.Model{}
	for _, v := range found {
		if next[v] = old[v]; next[v] != nil {
			continue
		}
		loaded, err := model.Open(filepath.Join(m.base, strconv.Itoa(v)))
		if err != nil {
			delete(next, v)
			if m.broken[v] != err.Error() {
				m.broken[v] = err.Error()
				m.log.ErrorContext(ctx, "version left out", "model", m.name, "version", v, "error", err)
			}
			continue
		}
		delete(m.broken, v)
		next[v] = loaded
		m.log.InfoContext(ctx, "version loaded", "model", m.name, "version", v)
	}

	if len(next) == 0 && len(old) > 0 {
		return errors.New("serving: no version is left: those in memory are kept")
	}
	m.versions.Store(&next)
	return nil
}

// get returns a version; 0 is the newest.
func (m *Models) get(version int) (*model.Model, int, bool) {
	all := *m.versions.Load()
	if version == 0 {
		version = slices.Max(slices.Collect(maps.Keys(all)))
	}
	loaded, ok := all[version]
	return loaded, version, ok
}

// list returns the versions, the newest first, as TensorFlow Serving does.
func (m *Models) list() []int {
	versions := slices.Sorted(maps.Keys(*m.versions.Load()))
	slices.Reverse(versions)
	return versions
}
