package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// peers are the modules that ours is compared with.
var peers = []string{
	"github.com/knadh/koanf/v2", "github.com/spf13/viper", "github.com/ilyakaznacheev/cleanenv",
	"github.com/phuslu/log", "github.com/rs/zerolog", "go.uber.org/zap", "go.uber.org/zap/exp", "github.com/samber/slog-multi",
	"github.com/nikoksr/notify", "github.com/wneessen/go-mail", "github.com/gocolly/colly/v2",
}

// about says where, when and against what was measured.
func about(ctx context.Context, command string, now time.Time) string {
	var sb strings.Builder
	fmt.Fprintf(&sb, "- Date: %s\n- Command: `%s`\n- Machine: %s, %d CPUs for Go, %s/%s, %s\n- Load at the end: %s\n",
		now.UTC().Format(time.DateOnly), command, cpuModel(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, runtime.Version(), load())

	versions := modules(ctx)
	for _, tool := range []struct {
		name    string
		command func() (*exec.Cmd, error)
	}{
		{"postfix", func() (*exec.Cmd, error) {
			return exec.CommandContext(ctx, "postconf", "-d", "-h", "mail_version"), nil
		}},
		{"syslog-ng", func() (*exec.Cmd, error) {
			part, err := testenv.Find("syslog-ng")
			return part.Command("--version"), err
		}},
		{"scrapy", func() (*exec.Cmd, error) {
			return exec.CommandContext(ctx, "python3", "-c", "import scrapy; print(scrapy.__version__)"), nil
		}},
	} {
		cmd, err := tool.command()
		if err != nil {
			continue // not measured either
		}
		if out, err := cmd.Output(); err == nil {
			first, _, _ := strings.Cut(string(out), "\n")
			fields := strings.Fields(first)
			if len(fields) > 0 {
				versions = append(versions, tool.name+" "+strings.Trim(fields[len(fields)-1], "()"))
			}
		}
	}

	fmt.Fprintf(&sb, "- Peers: %s\n", strings.Join(versions, ", "))
	return sb.String()
}

// modules returns the peers with their versions.
func modules(ctx context.Context) []string {
	args := append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, peers...)
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown CPU"
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ") + " (1, 5 and 15 minutes)"
}
