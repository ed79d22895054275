// Platforms checks that packages compile where nothing of ours is run. It reads
// them and all that they import from source, as the compiler's front end does:
// to build the standard library for nine systems takes ten minutes of a core,
// this one. Bodies of the standard library's functions are not read.
//
//	go run .ci/platforms.go GOOS/GOARCH,... PACKAGE...
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// listed is what `go list` says of a package.
type listed struct {
	ImportPath, Dir string
	Standard        bool
	GoFiles         []string
	ImportMap       map[string]string
	Module          *struct{ GoVersion string }
	Error           *struct{ Err string }
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: platforms GOOS/GOARCH,... PACKAGE...")
		os.Exit(2)
	}

	failed := false
	for platform := range strings.SplitSeq(os.Args[1], ",") {
		if err := check(platform, os.Args[2:]); err != nil {
			failed = true
			fmt.Printf("-- compile %s:\n%v\n", platform, err)
			continue
		}
		fmt.Printf("-- compile %s\n", platform)
	}
	if failed {
		os.Exit(1)
	}
}

// check reports what does not compile for platform.
func check(platform string, patterns []string) error {
	goos, goarch, ok := strings.Cut(platform, "/")
	sizes := types.SizesFor("gc", goarch)
	if !ok || sizes == nil {
		return errors.New("no GOOS/GOARCH")
	}
	packages, err := list(goos, goarch, patterns)
	if err != nil {
		return err
	}

	// `go list -deps` names a package after all that it imports.
	done := importer{"unsafe": types.Unsafe}
	fset := token.NewFileSet()
	var wrong []error
	for _, p := range packages {
		if p.Error != nil {
			wrong = append(wrong, fmt.Errorf("%s: %s", p.ImportPath, p.Error.Err))
			continue
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		files, err := parse(fset, p)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}

		config := types.Config{
			Importer:         mapped{done, p.ImportMap},
			Sizes:            sizes,
			IgnoreFuncBodies: p.Standard,
			Error:            func(err error) { wrong = append(wrong, err) },
		}
		if p.Module != nil && p.Module.GoVersion != "" {
			config.GoVersion = "go" + p.Module.GoVersion
		}
		// Its errors are in wrong already.
		done[p.ImportPath], _ = config.Check(p.ImportPath, fset, files, nil)
	}
	return errors.Join(wrong...)
}

// list returns the packages and what they import.
func list(goos, goarch string, patterns []string) ([]listed, error) {
	fields := "-json=ImportPath,Dir,Standard,GoFiles,ImportMap,Module,Error"
	cmd := exec.Command("go", append([]string{"list", "-e", "-deps", fields}, patterns...)...)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}

	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}

func parse(fset *token.FileSet, p listed) ([]*ast.File, error) {
	var files []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// importer holds the packages that are checked already.
type importer map[string]*types.Package

func (i importer) Import(path string) (*types.Package, error) {
	if p := i[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s does not compile", path)
}

// mapped finds what the standard library vendors.
type mapped struct {
	importer
	paths map[string]string
}

func (m mapped) Import(path string) (*types.Package, error) {
	if to, ok := m.paths[path]; ok {
		path = to
	}
	return m.importer.Import(path)
}
