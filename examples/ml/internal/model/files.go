package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/context/checkpoints"
)

const specFile = "model.json"

// ErrNoModel says that a folder holds no model, or a damaged one.
var ErrNoModel = errors.New("no model that can be loaded")

// Save writes m as the next version below base, as TensorFlow Serving lays
// models out: base/1, base/2 and so on. A version appears as a whole: a server
// that looks meanwhile sees all of it or nothing. It returns the version.
func (m *Model) Save(base string) (version int, err error) {
	m.saving.Lock()
	defer m.saving.Unlock()
	if err := os.MkdirAll(base, 0o755); err != nil {
		return 0, fmt.Errorf("model: save: %w", err)
	}

	scratch, err := os.MkdirTemp(base, ".saving-")
	if err != nil {
		return 0, fmt.Errorf("model: save: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(scratch))
		}
	}()

	checkpoint, err := checkpoints.Build(m.vars).Dir(scratch).Keep(1).Done()
	if err != nil {
		return 0, fmt.Errorf("model: save: %w", err)
	}
	if err := checkpoint.Save(); err != nil {
		return 0, fmt.Errorf("model: save: %w", err)
	}

	spec, err := json.MarshalIndent(m.spec, "", "  ")
	if err != nil {
		return 0, fmt.Errorf("model: save: %w", err)
	}
	if err := os.WriteFile(filepath.Join(scratch, specFile), append(spec, '\n'), 0o644); err != nil {
		return 0, fmt.Errorf("model: save: %w", err)
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		return 0, fmt.Errorf("model: save: %w", err)
	}

	versions, err := Versions(base)
	if err != nil {
		return 0, err
	}
	if len(versions) > 0 {
		version = versions[len(versions)-1]
	}

	for {
		version++
		err := os.Rename(scratch, filepath.Join(base, strconv.Itoa(version)))
		if err == nil {
			return version, nil
		}
		// Another process may have saved meanwhile.
		if _, taken := os.Stat(filepath.Join(base, strconv.Itoa(version))); taken != nil {
			return 0, fmt.Errorf("model: save: %w", err)
		}
	}
}

// Versions returns the versions below base in ascending order; none if there
// is no such folder.
func Versions(base string) ([]int, error) {
	entries, err := os.ReadDir(base)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("model: %w", err)
	}
	var versions []int
	for _, e := range entries {
		if v, err := strconv.Atoi(e.Name()); err == nil && v > 0 && strconv.Itoa(v) == e.Name() && e.IsDir() {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// Open loads the version in the folder dir, as [Model.Save] has written it.
// Errors match [ErrNoModel].
func Open(dir string) (*Model, error) {
	path := filepath.Join(dir, specFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("model: open: %w: %w", ErrNoModel, err)
	}

	var spec Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("model: open %s: %w: %w", path, ErrNoModel, err)
	}
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("model: open %s: %w: %w", path, ErrNoModel, err)
	}

	backend, err := newBackend()
	if err != nil {
		return nil, err
	}
	vars := context.New()
	if _, err := checkpoints.Load(vars).Dir(dir).Immediate().Done(); err != nil {
		return nil, fmt.Errorf("model: open %s: %w: %w", dir, ErrNoModel, err)
	}

	m, err := newModel(backend, spec, vars)
	if err != nil {
		return nil, fmt.Errorf("model: open %s: %w: %w", dir, ErrNoModel, err)
	}
	return m, nil
}
