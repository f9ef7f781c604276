/** `snapctr network …`: the seam between the configuration and the host's tap devices. */
import { execFileSync } from 'node:child_process';
import { Option, type Command } from 'commander';
import { loadNetwork } from '../controller/config/network.ts';
import { ConfigError } from '../controller/config/config.ts';
import { EXIT_FAILED, EXIT_USAGE } from '../controller/exit-status.ts';
import { NetworkSetupError } from '../network/host-taps.ts';
import { bringUp, describeTaps, takeDown, type TapOwner } from '../network/taps.ts';
import { messageOf } from '../protocol/errors.ts';
import type { NetworkSettings } from '../protocol/vmm-settings.ts';

const ROOT = '0';

interface NetworkFlags {
  readonly config: string;
}

interface UpFlags extends NetworkFlags {
  readonly user?: string;
  readonly group?: string;
}

const EXAMPLES = `
Examples:
  $ sudo snapctr network up --config controller.yaml                  for the user who called sudo
  $ sudo snapctr network up --config controller.yaml --user snapfaas
  $ snapctr network status --config controller.yaml                   exit status 1 if a tap is not ready
  $ sudo snapctr network down --config controller.yaml

The taps are those of the configuration's "network". They are gone after the host's next boot. See docs/network.md.`;

/** Adds `network` with its subcommands. */
export function registerNetworkCommand(program: Command): void {
  const network = program
    .command('network')
    .description("make, show and remove the tap devices that VMs' networks end at")
    .addHelpText('after', EXAMPLES);
  const reading = (name: string): Command =>
    network.command(name).requiredOption('-c, --config <file>', 'controller configuration (YAML): its `network`');

  reading('up')
    .description('make the taps that are missing, with their addresses; needs root')
    .addOption(
      // Of a tap with both the kernel asks for both: neither the rest of the group nor a jailed VM could use it.
      new Option('--user <user>', 'who may attach VMs: name or number (default: who called sudo, else root)').conflicts(
        'group',
      ),
    )
    .option('--group <group>', 'in place of one user, a group whose members may attach VMs: name or number')
    .action((flags: UpFlags) =>
      withSettings(flags, async (settings) => {
        await bringUp(settings, ownerOf(flags), say);
        say(adviceFor(settings));
      }),
    );
  reading('down')
    .description('remove the taps; needs root')
    .action((flags: NetworkFlags) => withSettings(flags, (settings) => takeDown(settings, say)));
  reading('status')
    .description('show each tap, its addresses and whether a VM is at it')
    .action((flags: NetworkFlags) =>
      withSettings(flags, async (settings) => {
        const { lines, areReady } = await describeTaps(settings);
        for (const line of lines) process.stdout.write(`${line}\n`);
        if (!areReady) process.exitCode = EXIT_FAILED;
      }),
    );
}

async function withSettings(
  { config }: NetworkFlags,
  use: (settings: NetworkSettings) => Promise<void>,
): Promise<void> {
  try {
    await use(loadNetwork(config, process.cwd()));
  } catch (error) {
    process.stderr.write(`snapctr: ${messageOf(error)}\n`);
    process.exitCode = error instanceof ConfigError ? EXIT_USAGE : EXIT_FAILED;
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/**
 * The controller is to run as a user of its own, so that is whom taps made by sudo are for. Never nobody in particular: such
 * a tap is open to all who may open /dev/net/tun, on most hosts everybody.
 */
function ownerOf({ user, group }: UpFlags): TapOwner {
  if (group !== undefined) return { uid: null, gid: idOf('group', group) };
  return { uid: idOf('passwd', user ?? process.env['SUDO_UID'] ?? ROOT), gid: null };
}

function idOf(database: 'passwd' | 'group', name: string): number {
  if (/^\d+$/.test(name)) return Number(name);
  try {
    const [, , id] = execFileSync('getent', [database, name], { encoding: 'utf8' }).split(':');
    return Number(id);
  } catch (cause) {
    const what = database === 'passwd' ? 'user' : 'group';
    throw new NetworkSetupError(`there is no ${what} ${JSON.stringify(name)}; make it, or name another`, { cause });
  }
}

function adviceFor({ subnet }: NetworkSettings): string {
  return `
VMs with a network reach this host. To let them out, and still not to one another, have root run

  sysctl -w net.ipv4.ip_forward=1
  nft add table ip snapfaas
  nft add chain ip snapfaas forward '{ type filter hook forward priority 0; }'
  nft add rule ip snapfaas forward ip saddr ${subnet} ip daddr ${subnet} drop
  nft add chain ip snapfaas out '{ type nat hook postrouting priority 100; }'
  nft add rule ip snapfaas out ip saddr ${subnet} ip daddr != ${subnet} masquerade

docs/security.md says what of this host they should not reach.`;
}
