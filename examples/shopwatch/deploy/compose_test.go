package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// project loads compose files as Compose v2 does.
func project(t *testing.T, profile string, env []string, files ...string) *types.Project {
	t.Helper()
	var paths []string
	for _, file := range files {
		paths = append(paths, filepath.Join("..", file))
	}
	options, err := cli.NewProjectOptions(paths, cli.WithName("test"), cli.WithEnv(env), cli.WithProfiles([]string{profile}), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("profile %s of %v: %v", profile, files, err)
	}
	return p
}

func TestComposeProfiles(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string][]string{
		"prod":  {"nginx", "service", "tor"},
		"dev":   {"nginx", "service-dev", "tor"},
		"vault": {"nginx", "service-vault", "tor", "vault"},
	} {
		p := project(t, profile, nil, "compose.prod.yaml")
		got := p.ServiceNames()
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("profile %s (-want +got):\n%s", profile, diff)
		}
		for name, s := range p.Services {
			if !s.ReadOnly || s.Privileged || len(s.CapAdd) != 0 || !slices.Equal(s.CapDrop, []string{"ALL"}) ||
				!slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.PidsLimit == 0 || s.MemLimit == 0 {
				t.Errorf("%s is not shut in: %+v", name, s)
			}
			// Nobody waits for Tor, which may take its time, or for anybody.
			if len(s.DependsOn) != 0 {
				t.Errorf("%s waits for %v", name, s.DependsOn)
			}
			for _, v := range s.Volumes {
				if v.Type != types.VolumeTypeVolume || p.Volumes[v.Source].Name == "" {
					t.Errorf("%s: %s is no named volume", name, v.Source)
				}
			}
			for _, secret := range s.Secrets {
				if p.Secrets[secret.Source].File == "" {
					t.Errorf("%s: secret %s is no file", name, secret.Source)
				}
			}
			if s.Logging == nil || s.Logging.Options["max-size"] == "" {
				t.Errorf("%s: what the engine keeps of its output has no bound", name)
			}
			for _, port := range s.Ports {
				if name != "nginx" || port.HostIP != "127.0.0.1" {
					t.Errorf("%s publishes %+v", name, port)
				}
			}
		}
	}
}

// What `docker compose up` starts needs nothing that only make or Go could have
// made: no profile, no secret, no file beside it.
func TestComposeDemo(t *testing.T) {
	t.Parallel()
	p := project(t, "", nil, "compose.yaml")
	if got := p.ServiceNames(); !slices.Equal(got, []string{"demo"}) || len(p.Secrets) != 0 {
		t.Fatalf("services %v, secrets %v", got, p.Secrets)
	}
	s := p.Services["demo"]
	if s.Build == nil || s.Build.Target != "dev" || len(s.Volumes) != 1 || s.Volumes[0].Type != types.VolumeTypeVolume {
		t.Errorf("build %+v, volumes %+v", s.Build, s.Volumes)
	}
	if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" || s.Ports[0].Published != "8080" {
		t.Errorf("ports %+v", s.Ports)
	}
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.MemLimit == 0 || s.PidsLimit == 0 {
		t.Errorf("it is not shut in: %+v", s)
	}

	p = project(t, "", []string{"HTTP_PORT=9090"}, "compose.yaml")
	if v := p.Services["demo"].Environment["SVC_SERVER_PUBLIC_URL"]; v == nil || *v != "http://localhost:9090/" {
		t.Errorf("it says another address than its reader's: %v", v)
	}
}

// TestComposeLogsAreTheLibrarys: the service's lines go to its own file, and
// its console holds warnings alone.
func TestComposeLogsAreTheLibrarys(t *testing.T) {
	t.Parallel()
	s := project(t, "prod", nil, "compose.prod.yaml").Services["service"]
	if v := s.Environment["SVC_LOG_CONSOLE_FORMAT"]; v == nil || *v != "off" {
		t.Errorf("SVC_LOG_CONSOLE_FORMAT = %v", v)
	}
}

func TestComposeForTests(t *testing.T) {
	t.Parallel()
	p := project(t, "prod", []string{"SECRETS=/tmp/elsewhere", "HTTPS_PORT=9443"}, "compose.prod.yaml", "compose.test.yaml")
	if p.Secrets["tls_key"].File != "/tmp/elsewhere/tls_key" || p.Services["nginx"].Ports[0].Published != "9443" {
		t.Errorf("variables: %+v, %+v", p.Secrets["tls_key"], p.Services["nginx"].Ports)
	}
	// The service is not on the shop's network: only exits reach it.
	for _, name := range []string{"service", "nginx"} {
		if _, on := p.Services[name].Networks["tornet"]; on {
			t.Errorf("%s is on the Tor network", name)
		}
	}
	if !p.Networks["tornet"].Internal {
		t.Error("the Tor network leads outside")
	}
	project(t, "vault", nil, "compose.prod.yaml", "compose.test.yaml")
}

// TestComposeVariables: every variable is told of at the top of the file.
func TestComposeVariables(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../compose.prod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\nx-safe:")
	// What a build sets, or what is for trying out.
	internal := []string{"GO_IMAGE", "DEBIAN_IMAGE", "GOPROXY", "VERSION", "REVISION", "TAG", "CONSOLE", "SECRETS_EVERY", "VAULT_DEV_TOKEN"}
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(internal, m[1]) && !strings.Contains(head, m[1]+"=") {
			t.Errorf("%s is not described at the top", m[1])
		}
	}
}
