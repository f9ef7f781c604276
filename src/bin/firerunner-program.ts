/** Runs one VM in the foreground, or serves launches for snapctr. */
import { Command, Option } from 'commander';
import { EXIT_CODES, exitCodeTable } from '../firerunner/exit-codes.ts';
import { ORIGINAL_FLAGS, ORIGINAL_FLAGS_WITH_VALUE, type OriginalFlag } from '../firerunner/original-flags.ts';
import { runFirerunner, type FirerunnerFlags } from '../firerunner/run.ts';
import { RUNTIME_NAMES } from '../protocol/runtimes.ts';
import { SMALLEST_VM_MIB, VMM_NAMES } from '../protocol/vmms.ts';
import { acceptBothSpellings, packageVersion, seconds, wholeNumber } from './flags.ts';

const program = new Command('firerunner')
  .description('Runs one function in one virtual machine: requests as JSON lines on stdin, results on stdout.')
  .version(packageVersion())
  .option('-k, --kernel <file>', 'uncompressed Linux kernel (ELF)')
  .option('--initrd <file>', 'initial RAM disk with init (default: initrd.cpio beside the kernel)')
  .option('-r, --rootfs <file>', 'root file system with a language runtime')
  .option('--appfs <path>', "the function's files: an ext4 image, or a directory with --vmm process")
  .option('--mem_size <mb>', 'memory of the VM in MB, at least 128', wholeNumber(SMALLEST_VM_MIB))
  .option('--vcpu_count <n>', 'vCPUs of the VM', wholeNumber(1, 32))
  .option('--id <name>', 'name of the VM, also in its request ids', 'abcde1234')
  .option('-c, --kernel_args <args>', "appended to the kernel's command line", '')
  .option('--handler <file.function>', "the function to call (default: the original's workload and handle)")
  .addOption(
    new Option('--runtime <name>', 'language of the root file system; only --vmm process asks').choices(RUNTIME_NAMES),
  )
  .option('--env <NAME=VALUE...>', 'environment of the function')
  .option('--tap_name <name>', "give the VM a network interface: the tap device at the host's end; with --mac")
  .option('--mac <address>', "the interface's address in the VM, such as 02:00:0a:c8:00:01; with --tap_name")
  .option('--guest_ip <cidr>', "the VM's IPv4 address, such as 10.200.0.1/31 (default: none)")
  .option('--gateway <ip>', "the VM's default route (default: none)")
  .option('--load_from <dir[,dir]>', 'restore from these snapshot layers, base first, instead of booting')
  .option('--dump_to <dir>', 'make a snapshot layer in this new directory, and end')
  .option('--timeout <s>', 'time for each request, in seconds', seconds, 60)
  .option('--boot-timeout <s>', 'time from the launch to a loaded function, in seconds', seconds, 60)
  .addOption(new Option('--vmm <name>', 'what runs the VM').choices(['auto', ...VMM_NAMES]).default('auto'))
  .addOption(
    new Option('--accel <name>', 'how QEMU runs the guest; auto: what was proved to work')
      .choices(['auto', 'kvm', 'tcg'])
      .default('auto'),
  )
  .option('--vmm-settings <json>', 'where Firecracker, its jailer and the taps of --serve are: docs/firecracker.md')
  .option('--serve', 'take launches as JSON lines on stdin and report events on stdout (what snapctr uses)')
  .addHelpText(
    'after',
    `
Examples:
  One VM with the Python example; two requests, two results:
    $ printf '%s\\n' '{"payload":{"name":"Ada"}}' '{"payload":{}}' | firerunner \\
        --kernel images/vmlinux --rootfs images/runtimefs/python3.ext4 \\
        --appfs hello.ext4 --mem_size 128 --vcpu_count 1
  The same without any VM, for developing a handler:
    $ echo '{"payload":{"name":"Ada"}}' | firerunner --vmm process --runtime python3 \\
        --appfs examples/hello-python --mem_size 128 --vcpu_count 1
  A base layer, a function layer on it, and a VM that is restored from both; … stands for the kernel, the root file
  system and the sizes as above:
    $ firerunner … --dump_to base
    $ firerunner … --appfs hello.ext4 --load_from base --dump_to hello
    $ echo '{"payload":{"name":"Ada"}}' | firerunner … --appfs hello.ext4 --load_from base,hello

A line on stdin is a request as snapctr takes it, {"payload": any}; "function", "time" and "user_id" may be left out.
A line on stdout is the function's result, or {"error": {"code", "message", …}}. Logs go to stderr.
Each option is also understood with - for _ and the other way round. The original's --copy_*, --odirect_*, --no_odirect_*,
--dump_ws, --load_ws and --cid are accepted with a note.

Exit codes:
${exitCodeTable()}
`,
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage))
  .showHelpAfterError('(firerunner --help lists all options)');

for (const flag of Object.keys(ORIGINAL_FLAGS) as OriginalFlag[]) {
  const value = ORIGINAL_FLAGS_WITH_VALUE.includes(flag) ? ' <value>' : '';
  program.addOption(new Option(`--${flag}${value}`, 'of the original; without effect').hideHelp());
}
program.parse(acceptBothSpellings(program, process.argv));
process.exitCode = await runFirerunner(program.opts<FirerunnerFlags>());
// Pipes to a program that does not read any more must not keep us.
process.exit();
