// Lines counts the lines of code in each room: no blank lines, no comments, no
// tests, no suites and no parts of tests.
//
//	go run .ci/lines.go [-v]
//
// With -v it prints each package too.
package main

import (
	"flag"
	"fmt"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// forTests are folders that no user's program links.
var forTests = []string{
	"internal/bench", "internal/house", "internal/lifetest", "internal/receivers", "internal/testenv", "internal/tools", "internal/vaultserver",
}

func main() {
	log.SetFlags(0)
	each := flag.Bool("v", false, "print each package")
	flag.Parse()

	packages := map[string]int{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			for _, dir := range forTests {
				if filepath.ToSlash(path) == dir {
					return filepath.SkipDir
				}
			}
			return nil
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		n, err := count(path)
		packages[filepath.ToSlash(filepath.Dir(path))] += n
		return err
	})
	if err != nil {
		log.Fatal("lines: ", err)
	}

	rooms, total := map[string]int{}, 0
	for dir, n := range packages {
		room, rest, _ := strings.Cut(dir, "/")
		if sample, _, _ := strings.Cut(rest, "/"); room == "examples" && sample != "" {
			room += "/" + sample
		}
		rooms[room] += n
		total += n
	}
	show(rooms)
	fmt.Printf("%7d in all\n", total)
	if *each {
		fmt.Println()
		show(packages)
	}
}

func show(lines map[string]int) {
	var names []string
	for name, n := range lines {
		if n > 0 {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("%7d %s\n", lines[name], name)
	}
}

// count returns the lines of a file on which something other than a comment
// stands. A file of a suite has none.
func count(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, text, parser.PackageClauseOnly)
	if err != nil {
		return 0, err
	}
	if strings.HasSuffix(f.Name.Name, "test") {
		return 0, nil
	}

	file := fset.AddFile(path, fset.Base(), len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		switch {
		case tok == token.EOF:
			return len(lines), nil
		case tok == token.SEMICOLON && literal == "\n":
			continue // written by nobody
		}
		first := file.Line(pos)
		for i := range 1 + strings.Count(literal, "\n") { // a raw string has many
			lines[first+i] = true
		}
	}
}
