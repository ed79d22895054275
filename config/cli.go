package config

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit codes of [Main].
const (
	// ExitOK: the command did what it was asked to.
	ExitOK = 0
	// ExitInvalid: the settings have mistakes, a value does not fit, or
	// check -strict found something.
	ExitInvalid = 1
	// ExitUsage: the command line is wrong, or names an unknown key.
	ExitUsage = 2
	// ExitRefused: a change was refused, as a higher layer overrides the key,
	// the key is a secret, or no file is writable.
	ExitRefused = 3
	// ExitWrite: the file could not be written; it is as before.
	ExitWrite = 4
)

const usage = `Usage: config <command>

  check [-strict]        load the settings and report every mistake; -strict also what
                         others could use: files they may write, secrets in the
                         environment, tokens sent in clear, open addresses
  explain [-json] [key]  list keys with their values, origins and what was overridden
  get <key>              print one value, such as mail.port or items[0].port (a secret stays redacted)
  set <key> <value>      change one key in the writable file, such as mail.port or items[0].port
  unset <key>            take one key out of that file: back to the layer below
  schema                 print a JSON Schema of the settings files
  env                    print an example .env file
  docs                   print a Markdown table of the keys

Exit codes: 0 done, 1 the settings or the value are wrong, 2 wrong usage, 3 change refused, 4 file not written.
`

// Main is a settings command for the user's own binary: given the arguments
// after its name, it checks, explains, changes and documents the settings that
// [Load] would give with the same defaults and options. It prints to standard
// output, reports to standard error and returns an exit code for os.Exit:
//
//	if len(os.Args) > 1 && os.Args[1] == "config" {
//		os.Exit(config.Main(ctx, defaults, os.Args[2:], layers...))
//	}
func Main[T any](ctx context.Context, defaults T, args []string, opts ...Option) int {
	return command(ctx, defaults, args, os.Stdout, os.Stderr, opts)
}

// argumentsOf returns how many arguments a command takes.
func argumentsOf(name string) (low, high int, known bool) {
	switch name {
	case "check", "schema", "env", "docs":
		return 0, 0, true
	case "explain":
		return 0, 1, true
	case "get", "unset":
		return 1, 1, true
	case "set":
		return 2, 2, true
	}
	return 0, 0, false
}

func command[T any](ctx context.Context, defaults T, args []string, stdout, stderr io.Writer, opts []Option) int {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("config "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }

	asJSON, strict := false, false
	switch name {
	case "explain":
		flags.BoolVar(&asJSON, "json", false, "print JSON")
	case "check":
		flags.BoolVar(&strict, "strict", false, "report what others could use")
	}

	if name == "help" || name == "-h" || name == "-help" || name == "--help" {
		fmt.Fprint(stdout, usage)
		return ExitOK
	}

	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return ExitOK
		}
		return ExitUsage
	}

	args = flags.Args()
	low, high, known := argumentsOf(name)
	if !known {
		if name != "" {
			fmt.Fprintf(stderr, "config: unknown command %q\n\n", name)
		}
		fmt.Fprint(stderr, usage)
		return ExitUsage
	}

	if len(args) < low || len(args) > high {
		fmt.Fprintf(stderr, "config: %s: %d arguments after it, want %s\n\n%s", name, len(args), count(low, high), usage)
		return ExitUsage
	}
	switch name {
	case "schema", "env", "docs":
		return generateCommand(name, defaults, stdout, stderr, opts)
	}

	store, err := Load(ctx, defaults, opts...)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return ExitInvalid
	}

	for _, w := range store.Stats().Warnings {
		fmt.Fprintln(stderr, "warning: "+w.Error())
	}

	switch name {
	case "check":
		found := []Problem(nil)
		if strict {
			found = store.Audit()
		}
		return checkCommand(len(store.Explain()), found, stdout, stderr)
	case "explain":
		x, err := store.explained(args)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return ExitUsage
		}
		return explainCommand(x, asJSON, stdout, stderr)
	case "get":
		x, err := store.explained(args)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return ExitUsage
		}
		return getCommand(x, args[0], stdout)
	case "set":
		return setCommand(store.Set(ctx, args[0], args[1]), stderr)
	case "unset":
		return setCommand(store.Unset(ctx, args[0]), stderr)
	}

	return ExitOK
}

func count(low, high int) string {
	if low == high {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

func generateCommand[T any](name string, defaults T, stdout, stderr io.Writer, opts []Option) int {
	var out string
	var err error
	switch name {
	case "schema":
		var data []byte
		data, err = Schema(defaults)
		out = string(data)
	case "env":
		out, err = EnvExample(defaults, opts...)
	case "docs":
		out, err = Doc(defaults)
	}

	if err != nil {
		fmt.Fprintln(stderr, err)
		return ExitInvalid
	}
	fmt.Fprint(stdout, out)
	return ExitOK
}

func checkCommand(keys int, found []Problem, stdout, stderr io.Writer) int {
	for _, p := range found {
		fmt.Fprintln(stderr, p.Error())
	}
	if len(found) > 0 {
		fmt.Fprintf(stderr, "%d findings\n", len(found))
		return ExitInvalid
	}
	fmt.Fprintf(stdout, "ok: %d keys\n", keys)
	return ExitOK
}

// explained explains all keys, or the one that is named: a key, a section, a
// map, or one value within a list or map, as Set names it.
func (s *Store[T]) explained(names []string) (Explanation, error) {
	x := s.Explain()
	if len(names) == 0 {
		return x, nil
	}
	if found := x.under(names[0]); len(found) > 0 {
		return found, nil
	}
	e, err := s.engine.explainNamed(names[0])
	return Explanation{e}, err
}

func explainCommand(x Explanation, asJSON bool, stdout, stderr io.Writer) int {
	if !asJSON {
		fmt.Fprint(stdout, x)
		return ExitOK
	}
	enc := json.NewEncoder(stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")

	if err := enc.Encode(x); err != nil {
		fmt.Fprintln(stderr, err)
		return ExitInvalid
	}
	return ExitOK
}

func getCommand(x Explanation, key string, stdout io.Writer) int {
	if len(x) == 1 && x[0].Key == key {
		fmt.Fprintln(stdout, x[0].Value)
		return ExitOK
	}
	for _, e := range x {
		fmt.Fprintf(stdout, "%s: %s\n", e.Key, e.Value)
	}
	return ExitOK
}

func setCommand(err error, stderr io.Writer) int {
	if err == nil {
		return ExitOK
	}
	fmt.Fprintln(stderr, err)
	var overridden *OverriddenError
	var write *WriteError
	switch {
	case errors.As(err, &overridden), errors.Is(err, ErrSecret), errors.Is(err, ErrNotWritable):
		return ExitRefused
	case errors.As(err, &write):
		return ExitWrite
	case errors.Is(err, ErrUnknownKey):
		return ExitUsage
	}

	return ExitInvalid
}
