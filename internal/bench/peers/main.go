// Command peers runs the comparisons with other libraries and programs, prints
// what came out as ratios, and says which of the bars that we set ourselves
// were met. Run it in the folder of this module:
//
//	go run ./peers                        # everything, 6 rounds
//	go run ./peers -write README.md       # and keep the report
//	go run ./peers -rounds 2 -bench Load config
//	go run ./peers -in results.txt        # a report on earlier results
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "peers:", err)
		}
		stop()
		os.Exit(1)
	}
}

// folders are those that hold comparisons, in the order of the report.
var folders = []string{"config", "logging", "notify", "scrape"}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	rounds := flags.Int("rounds", 6, "`rounds`, in each of which every implementation has its turn")
	benchtime := flags.String("benchtime", "1s", "`time` of one turn, as for go test")
	pattern := flags.String("bench", ".", "run only the benchmarks that match `regexp`")
	in := flags.String("in", "", "report on the results in `file` instead of running anything")
	out := flags.String("out", "", "keep the results in `file`, for benchstat -col /impl -ignore /round")

	write := flags.String("write", "", "write the report to `file` too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds is %d: at least 1 is needed", *rounds)
	}

	chosen := flags.Args()
	if *write != "" && (len(chosen) > 0 || *pattern != ".") {
		return errors.New("-write keeps a report on everything: leave -bench and the folders out")
	}
	if len(chosen) == 0 {
		chosen = folders
	}

	var results []byte
	if *in != "" {
		var err error
		if results, err = os.ReadFile(*in); err != nil {
			return err
		}
	} else {
		for _, folder := range chosen {
			text, err := benchmark(ctx, stderr, folder, *pattern, *benchtime, *rounds)
			results = append(results, text...)
			if err != nil {
				return err
			}
		}
		command := strings.Join(append([]string{"go run ./peers"}, args...), " ")
		for note := range strings.Lines(about(ctx, command, time.Now())) {
			results = append(results, aboutPrefix+note...)
		}
	}

	if *out != "" {
		if err := os.WriteFile(*out, results, 0o644); err != nil {
			return err
		}
	}

	measured, notes, err := parse(bytes.NewReader(results))
	if err != nil {
		return err
	}
	text := report(measured, notes)
	if _, err := io.WriteString(stdout, text); err != nil {
		return err
	}

	if *write != "" {
		return os.WriteFile(*write, []byte(text), 0o644)
	}
	return nil
}

// benchmark runs the benchmarks of one folder and returns their output, which
// it also shows as it comes.
func benchmark(ctx context.Context, show io.Writer, folder, pattern, benchtime string, rounds int) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", benchtime,
		"-timeout", "3h", "./"+folder, "-rounds", strconv.Itoa(rounds))
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, show)
	cmd.Stderr = show
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s: %w", folder, err)
	}
	return out.Bytes(), nil
}
