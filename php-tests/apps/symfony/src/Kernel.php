<?php
// A micro-kernel application, as the Symfony documentation writes one.
use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\BinaryFileResponse;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpFoundation\RedirectResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpFoundation\StreamedResponse;
use Symfony\Component\HttpKernel\Event\TerminateEvent;
use Symfony\Component\HttpKernel\Kernel as BaseKernel;
use Symfony\Component\Routing\Generator\UrlGeneratorInterface;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;

class Kernel extends BaseKernel
{
    use MicroKernelTrait;

    public function registerBundles(): iterable
    {
        yield new FrameworkBundle();
    }

    public function getProjectDir(): string
    {
        return dirname(__DIR__);
    }

    protected function configureContainer(ContainerConfigurator $container): void
    {
        $container->extension('framework', ['secret' => 'tested', 'session' => ['handler_id' => null, 'cookie_secure' => 'auto']]);
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
        foreach (['boot' => '/boot', 'hello' => '/hello/{name}', 'count' => '/count', 'echo' => '/echo', 'upload' => '/upload', 'stream' => '/stream', 'file' => '/file', 'leave' => '/leave', 'fail' => '/fail', 'late' => '/late'] as $name => $path) {
            $routes->add($name, $path)->controller([$this, $name . 'Action']);
        }
    }

    public function helloAction(string $name, Request $request): Response
    {
        $url = $this->getContainer()->get('router')->generate('hello', ['name' => 'x y'], UrlGeneratorInterface::ABSOLUTE_URL);
        return new JsonResponse(['hello' => $name, 'uri' => $request->getUri(), 'base' => $request->getBaseUrl(), 'path' => $request->getPathInfo(), 'url' => $url, 'query' => $request->query->all(), 'user' => $request->getUser()]);
    }

    public function bootAction(): Response
    {
        static $boot = null;
        return new Response($boot ??= bin2hex(random_bytes(6)));
    }

    public function countAction(Request $request): Response
    {
        $session = $request->getSession();
        $session->set('count', $session->get('count', 0) + 1);
        return new Response((string) $session->get('count'));
    }

    public function echoAction(Request $request): Response
    {
        return new Response($request->getMethod() . ' ' . md5($request->getContent()) . ' ' . json_encode($request->request->all()), 201, ['X-Test' => 'yes']);
    }

    public function uploadAction(Request $request): Response
    {
        $file = $request->files->get('file');
        return new JsonResponse([$file->getClientOriginalName(), $file->getSize(), md5_file($file->getPathname()), $file->isValid()]);
    }

    public function streamAction(): Response
    {
        return new StreamedResponse(function () {
            foreach (range(1, 3) as $part) {
                echo "part $part\n";
                flush();
            }
        });
    }

    public function fileAction(): Response
    {
        return (new BinaryFileResponse(__FILE__, 200, ['Content-Type' => 'text/plain']))->setAutoEtag();
    }

    public function leaveAction(): Response
    {
        return new RedirectResponse('/hello/again', 303);
    }

    public function failAction(): Response
    {
        throw new RuntimeException('on purpose');
    }

    public function lateAction(Request $request): Response
    {
        $var = $this->getProjectDir() . '/var';
        $this->getContainer()->get('event_dispatcher')->addListener('kernel.terminate', function (TerminateEvent $event) use ($var) {
            for ($i = 0; $i < 2000 && !file_exists("$var/answered"); $i++) {
                usleep(5000);
                clearstatcache();
            }
            file_put_contents("$var/late", 'done');
        });
        return new Response('sent');
    }
}
